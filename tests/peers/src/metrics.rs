//! What `/metrics` says, in the text format of Prometheus.

use anyhow::{Context, Result};

/// One scrape.
pub struct Metrics(String);

impl Metrics {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The sum of the samples that have this name and, among others, these labels: `name` or `name{label="value",…}`.
    ///
    /// # Errors
    /// There is no such sample.
    pub fn sum(&self, wanted: &str) -> Result<f64> {
        let (name, labels) = name_and_labels(wanted);
        let samples =
            self.0.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        let mut values = samples
            .filter(|(sample, _)| {
                let (sample_name, sample_labels) = name_and_labels(sample);
                sample_name == name && labels.iter().all(|label| sample_labels.contains(label))
            })
            .map(|(_, value)| value.parse::<f64>())
            .peekable();
        values.peek().with_context(|| format!("/metrics has no {wanted}"))?;
        Ok(values.sum::<Result<f64, _>>()?)
    }

    /// Whether the metric is described and has at least one sample; `kind` is `counter`, `gauge` or `histogram`.
    pub fn has(&self, name: &str, kind: &str) -> bool {
        let sample = if kind == "histogram" { format!("{name}_count") } else { name.to_owned() };
        self.0.lines().any(|line| line == format!("# TYPE {name} {kind}"))
            && self.0.lines().any(|line| line.starts_with(&format!("# HELP {name} ")))
            && self.sum(&sample).is_ok()
    }
}

/// Labels of small closed sets hold neither commas nor quotes, so that splitting is enough.
fn name_and_labels(sample: &str) -> (&str, Vec<&str>) {
    match sample.split_once('{') {
        Some((name, labels)) => (name, labels.trim_end_matches('}').split(',').collect()),
        None => (sample, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_chosen_by_name_and_labels() {
        let text =
            "# HELP x Things.\n# TYPE x counter\nx{kind=\"a\",of=\"1\"} 3\nx{kind=\"b\",of=\"1\"} 4\nx_y 5\n";
        let metrics = Metrics::new(text.into());
        assert_eq!(metrics.sum("x").unwrap(), 7.0);
        assert_eq!(metrics.sum("x{kind=\"b\"}").unwrap(), 4.0);
        assert_eq!(metrics.sum("x_y").unwrap(), 5.0);
        assert!(metrics.sum("x{kind=\"c\"}").is_err());
        assert!(metrics.has("x", "counter") && !metrics.has("x", "gauge") && !metrics.has("x_y", "gauge"));
    }
}
