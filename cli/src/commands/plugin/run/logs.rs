//! The log lines of one plugin in this process, for the terminal instead of a log file.

use std::fmt::{self, Write};

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Lines that wait to be printed; beyond that they are dropped, because a plugin must not wait for a terminal.
const WAITING: usize = 256;

/// One line that the plugin wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much it matters: `error`, `warn`, `info` or `debug`.
    pub level: &'static str,
    /// What it says.
    pub text: String,
}

/// Collects what the plugin of this name writes from now on.
pub fn start(plugin: &str) -> Receiver<Line> {
    let (lines, waiting) = channel(WAITING);
    let layer = Lines { plugin: plugin.to_owned(), lines };
    // Fails only when a log has been started before; then its lines are there.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
    waiting
}

struct Lines {
    plugin: String,
    lines: Sender<Line>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !event.metadata().target().starts_with("mesh_plugin_host") {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        if fields.plugin == self.plugin {
            let line = Line { level: word(*event.metadata().level()), text: fields.message };
            let _ = self.lines.try_send(line);
        }
    }
}

#[derive(Default)]
struct Fields {
    plugin: String,
    message: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "plugin" => value.clone_into(&mut self.plugin),
            "message" => value.clone_into(&mut self.message),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        }
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        _ => "debug",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_one_plugin_come_and_those_of_others_do_not() {
        let (lines, mut waiting) = channel(8);
        let layer = Lines { plugin: "acme/fast".to_owned(), lines };

        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(target: "mesh_plugin_host::sandbox", plugin = "acme/fast", "{}", "one");
            tracing::info!(target: "mesh_plugin_host::sandbox", plugin = "acme/other", "two");
            tracing::error!(target: "mesh_node::driver", plugin = "acme/fast", "three");
        });

        assert_eq!(waiting.try_recv(), Ok(Line { level: "info", text: "one".to_owned() }));
        assert!(waiting.try_recv().is_err());
    }
}
