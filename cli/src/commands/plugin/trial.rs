//! `meshctl plugin swap --shadow` and `--canary`: a plugin on trial before it decides alone.
//!
//! The node runs the trial and ends it by itself; this asks how it stands until it is over.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use mesh_node::api::{
    ApiError, CanarySpec, GateSpec, P99Spec, Request, ShadowSpec, SwapRequest, TrialFigures, TrialReport,
    TrialSpec, TrialStage, code,
};

use crate::args::duration;
use crate::commands::Context;
use crate::connect::Connection;
use crate::output::human::{self, BAD, DIM, GOOD, WARN, styled};
use crate::output::{Column, Pair, Rows, Show, View};

/// How often the node is asked how the trial stands.
const LOOK: Duration = Duration::from_millis(200);
/// A canary's share in hundredths of a percent.
const WHOLE: f64 = 10_000.0;

/// How a plugin is tried before it decides alone.
#[derive(Debug, Args)]
#[command(next_help_heading = "Trial")]
pub struct Options {
    /// Ask it beside the active one first, this long or for so many calls, and only compare.
    #[arg(long, value_parser = shadow, value_name = "TIME|CALLS|off")]
    shadow: Option<Shadow>,
    /// Then let it decide for this share of the flows, such as 10%.
    #[arg(long, value_parser = share, value_name = "SHARE")]
    canary: Option<u32>,
    /// How long it decides for the share.
    #[arg(long, value_parser = duration, default_value = "60s", value_name = "TIME", requires = "canary")]
    canary_for: Duration,
    /// The share of decisions that may differ, such as 5%; any by default.
    #[arg(long, value_parser = share, value_name = "SHARE")]
    max_disagreement: Option<u32>,
    /// What 99 of 100 of its calls may take: a time such as 200us, or 2x of the active one's; any by default.
    #[arg(long, value_parser = p99, value_name = "TIME|FACTOR")]
    max_p99: Option<P99Spec>,
    /// Calls in which it may fail [default: 0].
    #[arg(long, value_name = "N")]
    max_traps: Option<u64>,
    /// Return as soon as the trial runs; 'plugin show SLOT' tells how it stands.
    #[arg(long)]
    no_wait: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shadow {
    Off,
    For(ShadowSpec),
}

impl Options {
    /// Returns what is to be tried; `None` for a swap without a trial.
    ///
    /// # Errors
    /// `USAGE` for gates without a trial.
    pub fn spec(&self, dry_run: bool) -> Result<Option<TrialSpec>, ApiError> {
        let shadow = match self.shadow {
            Some(Shadow::For(length)) => Some(length),
            Some(Shadow::Off) | None => None,
        };
        let for_ms = u64::try_from(self.canary_for.as_millis()).unwrap_or(u64::MAX);
        let canary = self.canary.map(|share_bp| CanarySpec { share_bp, for_ms });
        if shadow.is_none() && canary.is_none() {
            let has_gate =
                self.max_disagreement.is_some() || self.max_p99.is_some() || self.max_traps.is_some();
            return if has_gate || self.no_wait { Err(without_trial()) } else { Ok(None) };
        }
        if self.no_wait && dry_run {
            let message = "a rehearsal ends with its report, so it has to be waited for";
            return Err(ApiError::new(&code::USAGE, message).help("leave out --no-wait"));
        }
        let gates = GateSpec {
            max_traps: self.max_traps.unwrap_or(0),
            max_disagreement_ppm: self.max_disagreement.map(|share| share * 100),
            max_p99: self.max_p99,
        };
        Ok(Some(TrialSpec { shadow, canary, gates }))
    }

    /// Begins the trial and, unless it is not to be waited for, returns how it ended.
    ///
    /// # Errors
    /// What the node says, or `TRIAL_RETURNED` when it did not pass.
    pub async fn run(
        &self,
        node: &mut Connection,
        context: &Context,
        swap: SwapRequest,
        spec: TrialSpec,
    ) -> Result<TrialReport, ApiError> {
        let slot = swap.slot.clone();
        let begun: TrialReport = node.call(&Request::PluginTry { swap, trial: spec }).await?;
        if self.no_wait {
            return Ok(begun);
        }
        let mut teller = Teller::new(context);
        teller.out.note(format_args!(
            "{} is on trial; the node ends it by itself, also after Ctrl-C. To end it now: meshctl plugin rollback {slot}",
            human::safe(&begun.candidate.to_string())
        ));
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            let report: TrialReport = node.call(&Request::PluginTrial { slot: slot.clone() }).await?;
            if report.began != begun.began {
                return Err(ApiError::new(&code::TRIAL_RETURNED, "another trial took its place")
                    .help(format!("meshctl plugin show {slot}")));
            }
            if !report.stage.is_running() {
                drop(teller);
                return ended(report);
            }
            teller.tell(&report);
        }
    }
}

fn ended(report: TrialReport) -> Result<TrialReport, ApiError> {
    let why = match report.stage {
        TrialStage::Returned => report.reason.clone().unwrap_or_default(),
        TrialStage::Aborted => "it was ended by an operator".to_owned(),
        _ => return Ok(report),
    };
    let message = format!("{} did not take over: {why}", report.candidate);
    let mut error = ApiError::new(&code::TRIAL_RETURNED, human::safe(&message));
    error = error.fact("active", &report.active).fact("at", report.stage.name());
    for (name, figures) in [("shadow", &report.shadow), ("canary", &report.canary)] {
        if let Some(figures) = figures {
            error = error.fact(name, plain(figures));
            for example in figures.examples.iter().take(3) {
                let differ = format!("{}, instead of {}", example.candidate, example.active);
                error = error.fact("example", format!("{}: {}", example.input, human::safe(&differ)));
            }
        }
    }
    Err(error.help(format!("meshctl plugin show {}", report.slot)))
}

fn without_trial() -> ApiError {
    ApiError::new(&code::USAGE, "gates and --no-wait belong to a trial")
        .help("add --shadow 30s or --canary 10%")
}

fn shadow(text: &str) -> Result<Shadow, String> {
    if text == "off" {
        return Ok(Shadow::Off);
    }
    if let Ok(calls) = text.parse() {
        return Ok(Shadow::For(ShadowSpec::Calls(calls)));
    }
    let time = duration(text).map_err(|why| format!("{why}; or a number of calls, such as 500"))?;
    Ok(Shadow::For(ShadowSpec::Ms(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))))
}

// In hundredths of a percent.
pub(super) fn share(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok((percent * 100.0).round() as u32),
        _ => Err("a share is 0% to 100%".to_owned()),
    }
}

fn p99(text: &str) -> Result<P99Spec, String> {
    if let Some(factor) = text.strip_suffix('x') {
        return match factor.parse::<f64>() {
            Ok(factor) if (0.01..=10_000.0).contains(&factor) => {
                Ok(P99Spec::Percent((factor * 100.0) as u32))
            }
            _ => Err("a factor is 0.01x to 10000x".to_owned()),
        };
    }
    if let Some(us) = text.strip_suffix("us").or_else(|| text.strip_suffix("µs")) {
        return us.trim().parse().map(P99Spec::Us).map_err(|_| "a time is such as 200us or 2ms".to_owned());
    }
    let time = duration(text).map_err(|why| format!("{why}; or a factor, such as 2x"))?;
    Ok(P99Spec::Us(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)))
}

/// Tells how the trial stands: one line that is drawn again on a terminal, a line a stage elsewhere.
struct Teller<'a> {
    out: &'a crate::output::Output,
    is_terminal: bool,
    stage: Option<TrialStage>,
}

impl<'a> Teller<'a> {
    fn new(context: &'a Context) -> Teller<'a> {
        let is_terminal = std::io::stderr().is_terminal() && !context.globals.quiet;
        Teller { out: &context.out, is_terminal, stage: None }
    }

    fn tell(&mut self, report: &TrialReport) {
        let is_new = self.stage.replace(report.stage) != Some(report.stage);
        if self.is_terminal {
            // Nothing is lost when a terminal takes no more.
            let _ = write!(anstream::stderr().lock(), "\r\x1b[2K{}", line(report));
        } else if is_new {
            self.out.note(line(report));
        }
    }
}

impl Drop for Teller<'_> {
    fn drop(&mut self) {
        if self.is_terminal && self.stage.is_some() {
            let _ = write!(anstream::stderr().lock(), "\r\x1b[2K");
        }
    }
}

fn line(report: &TrialReport) -> String {
    let figures = if report.stage == TrialStage::Canary { &report.canary } else { &report.shadow };
    let so_far = figures.as_ref().map_or_else(String::new, plain);
    format!("{}  {so_far}", stage(report))
}

fn stage(report: &TrialReport) -> String {
    let style = match report.stage {
        TrialStage::CutOver | TrialStage::Rehearsed => GOOD,
        TrialStage::Shadow | TrialStage::Canary => WARN,
        TrialStage::Returned | TrialStage::Aborted => BAD,
    };
    let share = report.spec.canary.filter(|_| report.stage == TrialStage::Canary);
    let share = share.map_or_else(String::new, |canary| {
        format!(" for {} % of the flows", f64::from(canary.share_bp) / WHOLE * 100.0)
    });
    let left = report.left_s.map_or_else(String::new, |left| format!(", {} left", human::duration(left)));
    format!("{}{share}{left}", styled(style, report.stage.name()))
}

fn plain(figures: &TrialFigures) -> String {
    if figures.calls + figures.traps == 0 {
        return "no calls yet".to_owned();
    }
    let p99 = |time: Option<f64>| human::or_dash(time.map(human::duration));
    let skipped = match figures.skipped {
        0 => String::new(),
        skipped => format!(", {} skipped", counted(skipped, "call")),
    };
    let last =
        figures.last_trap.as_deref().map_or_else(String::new, |last| format!(" ({})", human::safe(last)));
    format!(
        "{}: {:.1} % of {} the same, p99 {} (active {}), {}{last}{skipped}",
        counted(figures.calls, "call"),
        (1.0 - figures.disagreement) * 100.0,
        counted(figures.decisions, "decision"),
        p99(figures.candidate_p99_s),
        p99(figures.active_p99_s),
        counted(figures.traps, "trap"),
    )
}

fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", human::count(count), if count == 1 { "" } else { "s" })
}

/// Returns how a trial looks to a person.
pub(super) fn view(report: &TrialReport) -> View {
    let mut pairs = vec![
        Pair::new("slot", "slot", &report.slot),
        Pair::new("candidate", "on trial", super::show::reference(&report.candidate)),
        Pair::new("active", "beside", super::show::reference(&report.active)),
        Pair::new("stage", "stage", stage(report)),
    ];
    for (name, figures) in [("shadow", &report.shadow), ("canary", &report.canary)] {
        pairs.extend(figures.as_ref().map(|figures| Pair::new(name, name, plain(figures))));
    }
    pairs.extend(report.reason.as_deref().map(|reason| Pair::new("reason", "because", human::safe(reason))));
    if let (Some(pause_us), Some(at)) = (report.pause_us, report.at_decision) {
        let pause = human::duration(pause_us / 1e6);
        let (label, cut) = match report.stage {
            TrialStage::Rehearsed => (
                "would cut over",
                format!("with {pause} pause; nothing was switched, the active one goes on"),
            ),
            _ => ("cut over", format!("{pause} pause, from decision {}", human::count(at))),
        };
        pairs.push(Pair::new("at_decision", label, cut));
    }
    pairs.extend(report.undo.as_deref().map(|undo| Pair::new("undo", "undo", undo)));
    View::Parts(vec![View::Pairs(pairs), examples(report)])
}

fn examples(report: &TrialReport) -> View {
    let columns = [
        Column::text("input", "DISAGREE ON", 0),
        Column::text("active", "ACTIVE", 0),
        Column::text("candidate", "CANDIDATE", 0),
    ];
    let mut rows = Rows::new(&columns, "");
    let figures = [&report.shadow, &report.canary].into_iter().flatten();
    let examples: Vec<_> = figures.flat_map(|figures| &figures.examples).collect();
    if examples.is_empty() {
        return View::Text(String::new());
    }
    for example in examples {
        rows.push([&example.input, &example.active, &example.candidate].map(|text| human::safe(text)));
    }
    View::Rows(rows)
}

impl Show for TrialReport {
    const SCHEMA: &'static str = "plugin-trial";

    fn view(&self) -> View {
        let next = match self.stage.is_running() {
            true => format!("{}\n", styled(DIM, format!("next: meshctl plugin show {}", self.slot))),
            false => String::new(),
        };
        match view(self) {
            View::Parts(mut parts) => {
                parts.push(View::Text(next));
                View::Parts(parts)
            }
            other => other,
        }
    }

    fn names(&self) -> Vec<String> {
        vec![self.candidate.revision.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_shares_and_bounds_are_read_with_their_units() {
        assert_eq!(shadow("30s"), Ok(Shadow::For(ShadowSpec::Ms(30_000))));
        assert_eq!(shadow("500"), Ok(Shadow::For(ShadowSpec::Calls(500))));
        assert_eq!(shadow("off"), Ok(Shadow::Off));
        assert!(shadow("soon").is_err());
        assert_eq!((share("10%"), share("0.25"), share("100%")), (Ok(1_000), Ok(25), Ok(10_000)));
        assert!(share("101%").is_err() && share("-1%").is_err() && share("some").is_err());
        assert_eq!(
            (p99("2x"), p99("200us"), p99("2ms")),
            (Ok(P99Spec::Percent(200)), Ok(P99Spec::Us(200)), Ok(P99Spec::Us(2_000)))
        );
        assert!(p99("0x").is_err() && p99("fast").is_err());
    }
}
