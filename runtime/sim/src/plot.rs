//! One figure of a run, as SVG: delivery over time with the faults behind it, latency, links, bytes.

use crate::report::{Outcome, Point};

mod svg;

use svg::{Axis, Canvas, Panel, Scale};

const INK: &str = "#1f2937";
const BLUE: &str = "#2563eb";
const ORANGE: &str = "#d97706";
const GREEN: &str = "#059669";
const RED: &str = "#dc2626";

/// Panels: left and right column, upper and lower row; pixels.
const LEFT: f64 = 78.0;
const RIGHT: f64 = 690.0;
const UPPER: f64 = 130.0;
const LOWER: f64 = 490.0;
const WIDTH: f64 = 470.0;
const HEIGHT: f64 = 240.0;

impl Outcome {
    /// Returns the figure.
    pub fn svg(&self) -> String {
        let mut canvas = Canvas::new(1200.0, 790.0);
        self.head(&mut canvas);
        self.delivery(&mut canvas);
        self.latency(&mut canvas);
        self.bytes(&mut canvas);
        self.links(&mut canvas);
        canvas.finish()
    }

    fn head(&self, canvas: &mut Canvas) {
        let report = &self.report;
        canvas.text(LEFT - 48.0, 46.0, 26.0, INK, "600", &report.scenario);
        let short: String = report.trace_hash.chars().take(12).collect();
        let plugins = match report.plugins.as_slice() {
            [] => "native policies".to_owned(),
            plugins => {
                let names = plugins.iter().map(|row| format!("{} {}", row.plugin, row.version));
                names.collect::<Vec<_>>().join(", ")
            }
        };
        let what =
            if report.description.is_empty() { String::new() } else { format!("{} · ", report.description) };
        let line = format!(
            "{what}{} nodes · seed {} · {plugins} · {:.0} s simulated · trace {short}",
            report.nodes, report.seed, report.simulated_s
        );
        canvas.text(LEFT - 48.0, 72.0, 15.0, "#4b5563", "400", &line);
    }

    fn time(&self) -> Axis {
        let last = self.timeline.points.last().map_or(1.0, |point| point.at_s);
        Axis::until("simulated time, s", last.max(1.0))
    }

    fn delivery(&self, canvas: &mut Canvas) {
        let title = format!("Delivered: {}", percent(self.report.delivery_ratio));
        let points: Vec<(f64, f64)> = self
            .timeline
            .points
            .iter()
            .filter_map(|point| Some((point.at_s, point.delivered? * 100.0)))
            .collect();
        let least = points.iter().map(|&(_, y)| y).fold(100.0, f64::min);
        // Not from 0 while all is well: the difference between 99 % and 100 % is what matters.
        let floor = if least > 90.0 { 90.0 } else { 0.0 };
        let y = Axis::new("of those it counts for, %", floor, 100.0, Scale::Linear);
        let panel = Panel::new(LEFT, UPPER, WIDTH, HEIGHT, &title, self.time(), y);
        self.bands(canvas, &panel);
        panel.frame(canvas);
        panel.line(canvas, &points, GREEN);
        panel.dots(canvas, &points, GREEN);
        self.band_labels(canvas, &panel);
    }

    fn bytes(&self, canvas: &mut Canvas) {
        let per = |value: fn(&Point) -> f64| -> Vec<(f64, f64)> {
            self.timeline.points.iter().map(|point| (point.at_s, value(point) / 1000.0)).collect()
        };
        let total = per(|point| point.bytes_per_node_per_s);
        let control = per(|point| point.control_bytes_per_node_per_s);
        let top = total.iter().map(|&(_, y)| y).fold(0.1, f64::max);
        let title = format!("Sent by a node: {:.2} kB/s", self.report.bytes_per_node_per_s / 1000.0);
        let y = Axis::new("kB/s", 0.0, top, Scale::Linear);
        let panel = Panel::new(LEFT, LOWER, WIDTH, HEIGHT, &title, self.time(), y);
        self.bands(canvas, &panel);
        panel.frame(canvas);
        panel.line(canvas, &total, BLUE);
        panel.line(canvas, &control, ORANGE);
        panel.legend(canvas, &[("all", BLUE), ("control only", ORANGE)]);
    }

    fn latency(&self, canvas: &mut Canvas) {
        let points = &self.timeline.latency;
        let last = points.last().map_or(1.0, |&(ms, _)| ms).max(1.0);
        let first = points.first().map_or(0.1, |&(ms, _)| ms).max(0.01);
        let scale = if last / first > 50.0 { Scale::Log } else { Scale::Linear };
        let begin = if scale == Scale::Log { first } else { 0.0 };
        let x = Axis::new("from publish to delivery, ms", begin, last, scale);
        let y = Axis::new("of all deliveries, %", 0.0, 100.0, Scale::Linear);
        let title = format!(
            "Latency: {:.0} ms median, {:.0} ms for 99 %",
            self.report.latency_p50_ms, self.report.latency_p99_ms
        );
        let panel = Panel::new(RIGHT, UPPER, WIDTH, HEIGHT, &title, x, y);
        panel.frame(canvas);
        let shown: Vec<(f64, f64)> = points.iter().map(|&(ms, share)| (ms, share * 100.0)).collect();
        panel.line(canvas, &shown, BLUE);
    }

    fn links(&self, canvas: &mut Canvas) {
        let bars: Vec<(f64, f64)> =
            self.report.links.iter().map(|count| (count.links as f64, count.nodes as f64)).collect();
        let most = bars.iter().map(|&(_, nodes)| nodes).fold(1.0, f64::max);
        let widest = bars.iter().map(|&(links, _)| links).fold(1.0, f64::max);
        let x = Axis::new("links", -0.5, widest + 0.5, Scale::Whole);
        let y = Axis::new("nodes", 0.0, most, Scale::Whole);
        let title = format!("Links at the end: {:.1} a node", self.report.links_mean);
        let panel = Panel::new(RIGHT, LOWER, WIDTH, HEIGHT, &title, x, y);
        panel.frame(canvas);
        panel.bars(canvas, &bars, BLUE);
    }

    fn bands(&self, canvas: &mut Canvas, panel: &Panel) {
        for (n, band) in self.timeline.bands.iter().enumerate() {
            // Neighbours that touch are told apart by their shade.
            let opacity = if n % 2 == 0 { 0.08 } else { 0.14 };
            panel.band(canvas, band.from_s, band.to_s, RED, opacity);
        }
    }

    /// Names what goes wrong; what is repeated is named once.
    fn band_labels(&self, canvas: &mut Canvas, panel: &Panel) {
        let bands = &self.timeline.bands;
        let mut named: Vec<&str> = Vec::new();
        for band in bands {
            if named.contains(&band.label.as_str()) {
                continue;
            }
            let times = bands.iter().filter(|other| other.label == band.label).count();
            let label = if times > 1 { format!("{}, {times} times", band.label) } else { band.label.clone() };
            panel.band_label(canvas, band.from_s, &label, RED, named.len());
            named.push(&band.label);
        }
    }
}

fn percent(share: f64) -> String {
    // Never rounded up to 100 %: one lost message is what the reader looks for.
    let floored = (share * 1e5).floor() / 1e3;
    format!("{floored} %")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Band, LinkCount, Report, Timeline};

    fn outcome() -> Outcome {
        let point = |at_s: f64, delivered| Point {
            at_s,
            delivered,
            bytes_per_node_per_s: 1500.0,
            control_bytes_per_node_per_s: 300.0,
            links: 3.0,
            up: 20,
        };
        Outcome {
            report: Report {
                scenario: "a <b> & \"c\"".into(),
                nodes: 20,
                seed: 7,
                trace_hash: "0123456789abcdef".repeat(4),
                delivery_ratio: 0.999_999,
                links: vec![LinkCount { links: 2, nodes: 5 }, LinkCount { links: 3, nodes: 15 }],
                ..Report::default()
            },
            timeline: Timeline {
                points: vec![point(0.0, None), point(1.0, Some(0.5)), point(2.0, Some(1.0))],
                bands: vec![Band { from_s: 0.5, to_s: 1.5, label: "crash 10 %".into() }],
                latency: vec![(1.0, 0.1), (20.0, 0.5), (300.0, 1.0)],
            },
            checkpoints: Vec::new(),
        }
    }

    #[test]
    fn the_figure_names_the_run_and_escapes_what_it_shows() {
        let svg = outcome().svg();

        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("a &lt;b&gt; &amp; &quot;c&quot;"));
        assert!(svg.contains("20 nodes · seed 7 · native policies"));
        assert!(svg.contains("trace 0123456789ab<"), "the hash is cut short");
        assert!(svg.contains("crash 10 %"));
        assert!(svg.contains("Delivered: 99.999 %"), "it is not rounded up");
    }

    #[test]
    fn a_run_without_traffic_has_a_figure_too() {
        let svg = Outcome::default().svg();

        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
