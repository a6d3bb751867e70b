//! Sources of the configuration: file, environment, overrides, the later winning.

use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Config, ConfigError};

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`; absent: `./rollcall.toml`, else `/etc/rollcall/rollcall.toml`, else the defaults.
    pub file: Option<PathBuf>,
    /// `--override section.key=value`, in order: each wins over file, environment and those before it.
    pub overrides: Vec<String>,
}

/// Reads and validates a configuration.
///
/// # Errors
/// The first fault found, with file, line and key. Nothing else has happened.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let file = sources.file.clone().or_else(default_file);
    let text = match &file {
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| ConfigError {
            file: Some(path.clone()),
            ..ConfigError::at("", format!("cannot be read: {error}"))
        })?),
        None => None,
    };
    read(text.as_deref(), &sources.overrides).map_err(|mut error| {
        if let (Some(path), Some(text)) = (&file, &text) {
            error.line = error.line.or_else(|| line_of_key(text, &error.key));
            // A fault without a line in the file came from the environment or an override.
            error.file = error.line.map(|_| path.clone());
        }
        error
    })
}

impl Config {
    /// The effective configuration as TOML, without secrets.
    ///
    /// # Errors
    /// If a value has no TOML form.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

fn default_file() -> Option<PathBuf> {
    ["./rollcall.toml", "/etc/rollcall/rollcall.toml"]
        .iter()
        .map(Path::new)
        .find(|p| p.exists())
        .map(Into::into)
}

fn read(text: Option<&str>, overrides: &[String]) -> Result<Config, ConfigError> {
    let mut builder = config::Config::builder();
    if let Some(text) = text {
        syntax(text)?;
        builder = builder.add_source(File::from_str(text, FileFormat::Toml));
    }
    builder = builder.add_source(
        Environment::with_prefix("ROLLCALL").prefix_separator("__").separator("__").try_parsing(true),
    );
    for item in overrides {
        let (key, value) = item
            .split_once('=')
            .ok_or_else(|| ConfigError::at("", format!("--override {item}: expected section.key=value")))?;
        builder = builder
            .set_override(key, override_value(value))
            .map_err(|error| ConfigError::at(key, error.to_string()))?;
    }
    let merged = builder.build().map_err(|error| ConfigError::at("", error.to_string()))?;
    let config: Config = serde_path_to_error::deserialize(merged.clone()).map_err(|error| {
        let path = error.path().to_string();
        let key = if path == "." { String::new() } else { path };
        let message = error.into_inner().to_string();
        // The merged form tells that a name is unknown, not which there are; TOML does.
        let message =
            if message.starts_with("enum ") { names_expected(merged).unwrap_or(message) } else { message };
        match unknown_field(&message) {
            Some(field) if !key.ends_with(field) => {
                let key = if key.is_empty() { field.to_owned() } else { format!("{key}.{field}") };
                ConfigError::at(key, message)
            }
            _ => ConfigError::at(key, message),
        }
    })?;
    config.validate()?;
    Ok(config)
}

/// What the same fault is called in TOML; its first line, without the path.
fn names_expected(merged: config::Config) -> Option<String> {
    let table: toml::Table = merged.try_deserialize().ok()?;
    let error = table.try_into::<Config>().err()?;
    error.message().lines().next().map(str::to_owned)
}

/// A TOML value as it would stand in the file, or else a string.
fn override_value(text: &str) -> config::Value {
    #[derive(Deserialize)]
    struct Holder {
        value: config::Value,
    }
    match toml::from_str::<Holder>(&format!("value = {text}")) {
        Ok(holder) => holder.value,
        Err(_) => config::Value::new(None, text),
    }
}

fn syntax(text: &str) -> Result<(), ConfigError> {
    match DeTable::parse(text) {
        Ok(_) => Ok(()),
        Err(error) => {
            let line = error.span().map(|span| line_of_offset(text, span.start));
            Err(ConfigError { line, ..ConfigError::at("", error.message().to_owned()) })
        }
    }
}

/// The field that serde did not know, from its message: unknown field `x`, expected …
fn unknown_field(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split('`').next()
}

fn line_of_offset(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count() + 1
}

/// The line on which a key stands, or the nearest table above it that does.
fn line_of_key(text: &str, key: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let segments: Vec<&str> = key.split(['.', '[', ']']).filter(|s| !s.is_empty()).collect();
    let mut offset = None;
    walk(table.get_ref(), &segments, &mut offset);
    offset.map(|offset| line_of_offset(text, offset))
}

fn walk(table: &DeTable<'_>, segments: &[&str], offset: &mut Option<usize>) {
    let Some((name, rest)) = segments.split_first() else { return };
    let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else { return };
    *offset = Some(key.span().start);
    walk_value(value, rest, offset);
}

fn walk_value(value: &Spanned<DeValue<'_>>, segments: &[&str], offset: &mut Option<usize>) {
    match value.get_ref() {
        DeValue::Table(table) => walk(table, segments, offset),
        DeValue::Array(items) => {
            let Some((index, rest)) = segments.split_first() else { return };
            let Some(item) = index.parse::<usize>().ok().and_then(|i| items.get(i)) else { return };
            *offset = Some(item.span().start);
            walk_value(item, rest, offset);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> ConfigError {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("rollcall.toml");
        std::fs::write(&path, text).expect("written");
        load(&Sources { file: Some(path), overrides: vec![] }).expect_err("refused")
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let e = error("[server]\nnode = \"a\"\n\n[registrar]\nmin_expire_seconds = 5\n");
        assert_eq!((e.line, e.key.as_str()), (Some(5), "registrar.min_expire_seconds"));
        assert!(e.message.contains("expected") && e.message.contains("min_expires_seconds"), "{}", e.message);
        assert!(
            e.to_string().contains("rollcall.toml:5: registrar.min_expire_seconds: unknown field"),
            "{e}"
        );
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line() {
        let e = error("[registrar]\nmin_expires_seconds = \"soon\"\n");
        assert_eq!((e.line, e.key.as_str()), (Some(2), "registrar.min_expires_seconds"));
    }

    #[test]
    fn an_unknown_name_comes_with_those_that_there_are() {
        let e = error("[[domain]]\nname = \"a.test\"\n[domain.presence]\ncomposition = \"mix\"\n");
        assert_eq!((e.line, e.key.as_str()), (Some(4), "domain[0].presence.composition"));
        assert_eq!(e.message, "unknown variant `mix`, expected `merge` or `union`");
    }

    #[test]
    fn an_unknown_key_in_the_second_of_two_blocks_is_found() {
        let e = error("[[domain]]\nname = \"a.test\"\n[[domain]]\nname = \"b.test\"\nnam = 1\n");
        assert_eq!((e.line, e.key.as_str()), (Some(5), "domain[1].nam"));
    }

    #[test]
    fn a_syntax_error_has_a_line() {
        let e = error("[server]\nnode = \n");
        assert_eq!(e.line, Some(2));
    }

    #[test]
    fn an_override_wins_over_the_file() {
        let overrides = ["registrar.min_expires_seconds=7".into(), "server.node=b".into()];
        let config = read(Some("[registrar]\nmin_expires_seconds = 5\n"), &overrides).expect("valid");
        assert_eq!((config.registrar.min_expires_seconds, config.server.node.as_str()), (7, "b"));
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(read(None, &[]).expect("valid").domain[0].name, "localhost");
    }
}
