//! `meshctl plugin run`: build, bind, watch, and swap on every change, with the state kept.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use mesh_node::api::{ApiError, PluginRow, PluginState, Request, Setting, Settings, code};
use mesh_plugin_host::Kind;
use tokio::time::sleep;

use super::build::{Narration, built};
use super::source::{Network, Source};
use super::stop::Stop;
use super::{Context, setting};

mod private;
mod say;
mod stage;
pub(super) mod watch;

use say::{Live, Log, Say, Told, chatter};
use stage::Stage;
use watch::Watch;

/// Build a plugin, run it, and swap it live on every change of its sources.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl plugin run                                the project here, in a private node of its own
  meshctl plugin run my-router --set max_queue_kib=64
  meshctl plugin run --attach alice                 in a node that runs; its own plugin comes back at the end
  meshctl plugin run --traffic 0                    without made-up traffic
  meshctl plugin run --once                         end when the plugin is live

The private node keeps nothing on disk, listens on loopback only and ends with this command. Two neighbours of its
own exchange messages through it, so that the plugin is called. Sources are looked at ten times a second, which
works on every file system; what changes during a build is built next. A build that fails changes nothing: the
revision before goes on.")]
pub struct Run {
    /// The project's directory.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Run it in this node instead of a private one.
    #[arg(long, value_name = "NODE")]
    attach: Option<String>,
    /// Messages a second through the private node, at most 1000; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1000))]
    traffic: u32,
    /// A setting of the plugin.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, Setting)>,
    /// End when the plugin is live, with an error when it does not come so far.
    #[arg(long)]
    once: bool,
}

/// How long after a swap its calls are counted.
const SETTLED: Duration = Duration::from_secs(2);

impl Run {
    /// Runs until Ctrl-C, a SIGTERM, or the end of the node.
    ///
    /// # Errors
    /// What keeps the node from starting; with `--once` what keeps the plugin from being live.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let begun = Instant::now();
        let source = Source::open(&self.dir, Network::of(context))?;
        let slot = slot_of(&source)?;
        if context.globals.dry_run {
            context.out.note(format_args!("{} would be built and bound to {}", source.name(), slot.slot()));
            return Ok(());
        }
        let mut stop = Stop::catch()?;
        let say = Say::new(context);
        let mut stage = match &self.attach {
            Some(node) => Stage::attached(node, slot, context).await?,
            None => Stage::private(&source, slot, self.traffic, context).await?,
        };
        let outcome = tokio::select! {
            outcome = self.live(source, &mut stage, &say, begun) => outcome,
            () = stop.wait() => Ok(()),
        };
        stage.end(&say).await;
        outcome
    }

    async fn live(
        &self,
        source: Source,
        stage: &mut Stage,
        say: &Say,
        begun: Instant,
    ) -> Result<(), ApiError> {
        say.tell(&stage.told())?;
        let events = stage.events().await?;
        let log = Log::of(stage.connect().await?, stage.slot()).await?;
        tokio::select! {
            outcome = self.cycle(source, stage, say, begun) => outcome,
            outcome = chatter(say, events, log) => outcome,
        }
    }

    async fn cycle(
        &self,
        mut source: Source,
        stage: &mut Stage,
        say: &Say,
        begun: Instant,
    ) -> Result<(), ApiError> {
        let mut watch = Watch::of(&source);
        let mut noticed = begun;
        let mut changed = Vec::new();
        loop {
            match self.bring_live(&source, stage, say, noticed, &changed).await {
                Ok(()) if self.once => return Ok(()),
                Ok(()) => {}
                Err(error) if self.once => return Err(error),
                Err(error) => say.tell(&Told::Failed { changed: &changed, error: &error })?,
            }
            loop {
                (changed, noticed) = self.next_change(&mut watch, stage, say).await?;
                match Source::open(&self.dir, source.network) {
                    Ok(read) => {
                        source = read;
                        break;
                    }
                    Err(error) => say.tell(&Told::Failed { changed: &changed, error: &error })?,
                }
            }
            watch.follow(&source);
        }
    }

    // What a revision does is told once, when it has had time to be called.
    async fn next_change(
        &self,
        watch: &mut Watch,
        stage: &mut Stage,
        say: &Say,
    ) -> Result<(Vec<String>, Instant), ApiError> {
        if let Some(revision) = stage.live() {
            let wait = sleep(SETTLED);
            tokio::select! {
                changed = watch.changed() => return Ok(changed),
                () = wait => {}
            }
            if let Some(row) = active(&stage.rows().await?, &revision) {
                say.tell(&Told::Stats(row))?;
            }
        }
        Ok(watch.changed().await)
    }

    async fn bring_live(
        &self,
        source: &Source,
        stage: &mut Stage,
        say: &Say,
        noticed: Instant,
        changed: &[String],
    ) -> Result<(), ApiError> {
        let built = built(source, Narration::Kept).await?;
        let settings = Settings::from_iter(self.settings.iter().cloned());
        let origin = format!("dev override: {}", full(&source.dir).display());
        let bound = stage.bind(&built.component, settings, origin).await?;
        say.tell(&Told::Live(Live {
            changed,
            build_s: built.took.as_secs_f64(),
            size_bytes: built.component.len() as u64,
            live_s: noticed.elapsed().as_secs_f64(),
            bound,
        }))
    }
}

fn full(dir: &Path) -> PathBuf {
    std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned())
}

fn active<'a>(rows: &'a [PluginRow], revision: &str) -> Option<&'a PluginRow> {
    rows.iter().find(|row| row.revision == revision && row.state == PluginState::Active)
}

/// Returns what the manifest says that the plugin is.
fn slot_of(source: &Source) -> Result<Kind, ApiError> {
    let plugin = &source.manifest.plugin;
    let fits =
        |kind: &Kind| plugin.slots.iter().any(|slot| slot == kind.slot()) || plugin.world == kind.world();
    Kind::ALL.into_iter().find(fits).ok_or_else(|| {
        let error = ApiError::new(&code::BAD_MANIFEST, "plugin.toml names no slot that there is");
        error.fact("slots", plugin.slots.join(", ")).help(concat!(
            "set slots to one of ",
            slots!(),
            ", such as slots = [\"route\"]"
        ))
    })
}

/// What binding a revision did.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Bound {
    /// The slot.
    pub slot: String,
    /// The revision that decides now.
    pub revision: String,
    /// Seconds from the installation to the switch.
    pub swap_s: f64,
    /// How long decisions waited.
    pub pause_us: f64,
    /// What became of the state: `kept`, `none`, `reset`, or `same revision`.
    pub state: &'static str,
    /// Why the state was reset, when the new revision refused it.
    pub why: Option<String>,
}

impl Stage {
    async fn bind(
        &mut self,
        component: &[u8],
        settings: Settings,
        origin: String,
    ) -> Result<Bound, ApiError> {
        let begun = Instant::now();
        let revision = self.install(component, origin).await?;
        if self.live().as_deref() == Some(revision.as_str()) {
            return Ok(Bound {
                slot: self.slot().to_owned(),
                revision,
                swap_s: begun.elapsed().as_secs_f64(),
                pause_us: 0.0,
                state: "same revision",
                why: None,
            });
        }
        let (report, why) = self.swap(&revision, settings).await?;
        // A revision that refused the state began without being shown any.
        let state = match (report.state_carried, report.state_bytes, &why) {
            (true, ..) => "kept",
            (false, 0, None) => "none",
            (false, ..) => "reset",
        };
        Ok(Bound {
            slot: report.slot,
            revision,
            swap_s: begun.elapsed().as_secs_f64(),
            pause_us: report.pause_us,
            state,
            why,
        })
    }

    async fn rows(&mut self) -> Result<Vec<PluginRow>, ApiError> {
        self.node.call(&Request::PluginList).await
    }
}
