//! What a page of results says of the machine that they were made on.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::Result;

use crate::shell::root;

/// Where and with what the run was made.
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory: String,
    kernel: String,
    date: String,
    /// A list of Markdown.
    versions: String,
}

impl Machine {
    pub(crate) fn this(versions: &[String]) -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let kilobytes =
            field(&meminfo, "MemTotal").and_then(|value| value.split(' ').next()?.parse::<u64>().ok());
        Ok(Self {
            cpu: field(&cpuinfo, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: available_parallelism()?.get(),
            memory: kilobytes
                .map_or_else(|| "memory unknown".to_owned(), |k| format!("{} GB of memory", k / 1_000_000)),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            date: first_line("date", &["-u", "+%Y-%m-%d"]),
            versions: versions.iter().map(|version| format!("- {version}\n")).collect(),
        })
    }

    /// A list of Markdown.
    pub(crate) fn list(&self) -> String {
        let Self { cpu, cores, memory, kernel, date, versions } = self;
        format!("- machine: {cores} × {cpu}, {memory}, Linux {kernel}\n- date: {date}\n{versions}")
    }
}

/// The first line a command prints that is not empty.
pub(crate) fn first_line(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&output);
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("unknown").to_owned()
}

/// The commit of the checkout.
pub(crate) fn commit() -> String {
    first_line("git", &["-C", &root().display().to_string(), "describe", "--always", "--dirty"])
}
