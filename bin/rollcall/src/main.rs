//! `rollcall`: a SIP proxy, registrar and presence server.

mod check;
mod demo;
mod exit;
mod logging;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use server::Sources;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A SIP proxy, registrar and presence server.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves until SIGTERM or SIGINT; SIGHUP reloads the configuration.
    Run(Configuration),
    /// Validates a configuration and prints what is in effect.
    Check(Configuration),
    /// Shows a publish/subscribe round trip with two users, and leaves the server running.
    Demo,
}

#[derive(Args)]
struct Configuration {
    /// The configuration file [default: ./rollcall.toml, else /etc/rollcall/rollcall.toml, else built-in defaults].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one key, and wins over file and environment; may be given any number of times.
    #[arg(long = "override", value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
}

impl From<Configuration> for Sources {
    fn from(arguments: Configuration) -> Self {
        Self { file: arguments.config, overrides: arguments.overrides }
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
            // A closed terminal is no reason to fail.
            let _ = error.print();
            return code;
        }
    };
    let result = match arguments.command {
        Command::Run(configuration) => run::run(&configuration.into()),
        Command::Check(configuration) => check::check(&configuration.into()),
        Command::Demo => demo::demo(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollcall: {error:#}");
            exit::code_of(&error)
        }
    }
}
