//! The text format of Prometheus, 0.0.4.

use std::fmt::Write as _;

use super::{
    known::Kind,
    series::{Reading, Registry, Series},
};

/// Everything that was counted.
pub(super) fn text(registry: &Registry) -> String {
    let mut text = String::new();
    for family in registry.families() {
        let (name, series) = (family.known.name, family.series());
        if series.is_empty() {
            continue;
        }
        let kind = match family.known.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let help = family.known.help;
        // Writing to a text does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for Series { labels, reading } in series {
            let labels = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value)));
            let labels: Vec<String> = labels.collect();
            match reading {
                Reading::Counter(value) => line(&mut text, name, &labels, &value.to_string()),
                Reading::Gauge(value) => line(&mut text, name, &labels, &number(value)),
                Reading::Histogram { bounds, counts, sum } => {
                    let bounds = bounds.iter().copied().chain([f64::INFINITY]);
                    // Each is one of those before too.
                    let mut so_far = 0;
                    for (bound, count) in bounds.zip(counts) {
                        so_far += count;
                        let bound = format!("le=\"{}\"", number(bound));
                        let labels = [labels.as_slice(), &[bound]].concat();
                        line(&mut text, &format!("{name}_bucket"), &labels, &so_far.to_string());
                    }
                    line(&mut text, &format!("{name}_sum"), &labels, &number(sum));
                    line(&mut text, &format!("{name}_count"), &labels, &so_far.to_string());
                }
            }
        }
    }
    text
}

fn line(text: &mut String, name: &str, labels: &[String], value: &str) {
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(text, "{name}{labels} {value}");
}

fn number(value: f64) -> String {
    if value == f64::INFINITY { "+Inf".to_owned() } else { value.to_string() }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
