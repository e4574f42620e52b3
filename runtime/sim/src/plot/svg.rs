//! Lines, bars and text as SVG; axes with round numbers. Knows nothing of what is shown.

use std::fmt::Write;

const FONT: &str = "Inter, 'Helvetica Neue', Helvetica, Arial, sans-serif";
const GRID: &str = "#e5e7eb";
const AXIS: &str = "#9ca3af";
const LABEL: &str = "#4b5563";

/// A drawing that grows.
pub(super) struct Canvas {
    text: String,
}

impl Canvas {
    pub(super) fn new(width: f64, height: f64) -> Canvas {
        let mut canvas = Canvas { text: String::new() };
        canvas.add(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" font-family=\"{FONT}\">"
        ));
        canvas.add(format_args!("<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>"));
        canvas
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // A string takes everything.
        let _ = writeln!(self.text, "{element}");
    }

    pub(super) fn text(&mut self, x: f64, y: f64, size: f64, fill: &str, weight: &str, text: &str) {
        let text = escape(text);
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" font-weight=\"{weight}\" \
             fill=\"{fill}\">{text}</text>"
        ));
    }

    fn label(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = escape(text);
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"12\" text-anchor=\"{anchor}\" \
             fill=\"{LABEL}\">{text}</text>"
        ));
    }

    fn stroke(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        self.add(format_args!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" \
             stroke-width=\"{width}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    fn area(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str, opacity: f64) {
        self.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"{colour}\" fill-opacity=\"{opacity}\"/>"
        ));
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

/// How values are laid along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    /// By factors of ten.
    Log,
    /// Whole numbers only.
    Whole,
}

/// One axis: from where to where, and what it counts.
pub(super) struct Axis {
    label: &'static str,
    from: f64,
    to: f64,
    scale: Scale,
    ticks: Vec<f64>,
}

/// Marks along an axis, about.
const TICKS: f64 = 5.0;

impl Axis {
    /// Makes an axis that ends at a round number.
    pub(super) fn new(label: &'static str, from: f64, to: f64, scale: Scale) -> Axis {
        match scale {
            Scale::Linear => {
                let step = round_step((to - from).max(1e-9) / TICKS);
                let end = (to / step - 1e-9).ceil() * step;
                let marks = ((end - from) / step).round() as usize;
                let ticks = (0..=marks).map(|n| from + n as f64 * step).collect();
                Axis { label, from, to: end, scale, ticks }
            }
            Scale::Whole => {
                let step = round_step((to - from) / (TICKS * 2.0)).ceil();
                let ticks = (0..).map(|n| f64::from(n) * step).take_while(|&tick| tick <= to).collect();
                Axis { label, from, to, scale, ticks }
            }
            Scale::Log => {
                let (low, high) = (from.log10().floor(), to.log10().ceil());
                let ticks = (low as i32..=high as i32).map(|power| 10f64.powi(power)).collect();
                Axis { label, from: 10f64.powf(low), to: 10f64.powf(high), scale, ticks }
            }
        }
    }

    /// Makes an axis from nothing that ends at the value itself, as time does.
    pub(super) fn until(label: &'static str, to: f64) -> Axis {
        let mut axis = Axis::new(label, 0.0, to, Scale::Linear);
        axis.ticks.retain(|tick| *tick <= to);
        Axis { to, ..axis }
    }

    /// Returns where a value lies, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Log => {
                (value.max(self.from) / self.from).log10() / (self.to / self.from).log10().max(1e-9)
            }
            Scale::Linear | Scale::Whole => (value - self.from) / (self.to - self.from).max(1e-9),
        };
        place.clamp(0.0, 1.0)
    }
}

/// Returns the next of 1, 2, 2.5 and 5 times a power of ten.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factor = rough / power;
    let round = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|&step| factor <= step + 1e-9);
    round.unwrap_or(10.0) * power
}

fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A diagram within the drawing.
pub(super) struct Panel {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    title: String,
    across: Axis,
    up: Axis,
}

impl Panel {
    pub(super) fn new(x: f64, y: f64, width: f64, height: f64, title: &str, across: Axis, up: Axis) -> Panel {
        Panel { x, y, width, height, title: title.to_owned(), across, up }
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x + self.across.place(x) * self.width, self.y + (1.0 - self.up.place(y)) * self.height)
    }

    /// Draws title, grid, marks and labels.
    pub(super) fn frame(&self, canvas: &mut Canvas) {
        canvas.text(self.x - 48.0, self.y - 18.0, 16.0, "#1f2937", "600", &self.title);
        let bottom = self.y + self.height;
        for &tick in &self.up.ticks {
            let y = self.at((self.across.from, tick)).1;
            canvas.stroke((self.x, y), (self.x + self.width, y), GRID, 1.0);
            canvas.label(self.x - 8.0, y + 4.0, "end", &number(tick));
        }
        for &tick in &self.across.ticks {
            let x = self.at((tick, self.up.from)).0;
            canvas.stroke((x, bottom), (x, bottom + 4.0), AXIS, 1.0);
            canvas.label(x, bottom + 18.0, "middle", &number(tick));
        }
        canvas.stroke((self.x, bottom), (self.x + self.width, bottom), AXIS, 1.0);
        canvas.label(self.x + self.width / 2.0, bottom + 38.0, "middle", self.across.label);
        let (x, y) = (self.x - 46.0, self.y + self.height / 2.0);
        canvas.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"12\" text-anchor=\"middle\" fill=\"{LABEL}\" \
             transform=\"rotate(-90 {x:.1} {y:.1})\">{}</text>",
            escape(self.up.label)
        ));
    }

    pub(super) fn line(&self, canvas: &mut Canvas, points: &[(f64, f64)], colour: &str) {
        let mut path = String::new();
        for &point in points {
            let (x, y) = self.at(point);
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        if !path.is_empty() {
            canvas.add(format_args!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
                 stroke-linejoin=\"round\"/>",
                path.trim_end()
            ));
        }
    }

    /// Marks single points while they are few enough to be told apart.
    pub(super) fn dots(&self, canvas: &mut Canvas, points: &[(f64, f64)], colour: &str) {
        if points.len() as f64 > self.width / 6.0 {
            return;
        }
        for &point in points {
            let (x, y) = self.at(point);
            canvas.add(format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>"));
        }
    }

    pub(super) fn bars(&self, canvas: &mut Canvas, bars: &[(f64, f64)], colour: &str) {
        let width = self.width / (self.across.to - self.across.from).max(1.0) * 0.8;
        for &(x, y) in bars {
            let (middle, top) = self.at((x, y));
            canvas.area(middle - width / 2.0, top, width, self.y + self.height - top, colour, 0.85);
        }
    }

    /// Shades a time.
    pub(super) fn band(&self, canvas: &mut Canvas, from: f64, to: f64, colour: &str, opacity: f64) {
        let left = self.at((from, self.up.from)).0;
        let right = self.at((to, self.up.from)).0;
        canvas.area(left, self.y, (right - left).max(1.5), self.height, colour, opacity);
    }

    /// Names a time; `number` keeps the names of neighbours apart.
    pub(super) fn band_label(
        &self,
        canvas: &mut Canvas,
        from: f64,
        label: &str,
        colour: &str,
        number: usize,
    ) {
        let row = (number % 3) as f64;
        let (x, y) = (self.at((from, self.up.from)).0 + 4.0, self.y + self.height - 8.0 - row * 14.0);
        let label = escape(label);
        canvas.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"11\" fill=\"{colour}\">{label}</text>"
        ));
    }

    pub(super) fn legend(&self, canvas: &mut Canvas, names: &[(&str, &str)]) {
        let mut x = self.x + self.width;
        for (name, colour) in names.iter().rev() {
            x -= 8.0 * name.len() as f64 + 26.0;
            canvas.stroke((x, self.y - 22.0), (x + 16.0, self.y - 22.0), colour, 3.0);
            canvas.label(x + 20.0, self.y - 18.0, "start", name);
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (from, to, scale, want) in [
            (0.0, 97.0, Scale::Linear, vec![0.0, 20.0, 40.0, 60.0, 80.0, 100.0]),
            (90.0, 100.0, Scale::Linear, vec![90.0, 92.0, 94.0, 96.0, 98.0, 100.0]),
            (-0.5, 5.5, Scale::Whole, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
            (3.0, 700.0, Scale::Log, vec![1.0, 10.0, 100.0, 1000.0]),
        ] {
            assert_eq!(Axis::new("", from, to, scale).ticks, want);
        }
    }
}
