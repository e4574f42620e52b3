//! What was in a slot before, some steps deep: where rollbacks lead, and what they left.

use mesh_plugin_host::{Kind, Revision, SlotStatus};
use serde::{Deserialize, Serialize};

use super::binding::{Binding, settings_of};
use super::{Installed, Plugins, hex};
use crate::driver::clock::unix_ms;
use crate::store::{Table, Write};

/// Bindings that are remembered in each direction. Deeper than that, people name the version that they want.
const STEPS: usize = 8;
const LEFT_PREFIX: &str = "left/";

/// How a slot came to be bound as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// By a swap, or by what happened to a plugin.
    Onward,
    /// By a rollback.
    Back,
    /// A rollback was taken back.
    Forward,
    /// What was bound was withdrawn: nothing leads to it.
    Withdrawn,
}

/// The bindings of a slot before and after the one of now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    /// The latest first.
    earlier: Vec<Left>,
    /// What rollbacks have left, the last one first; empty again after a swap.
    later: Vec<Left>,
}

/// A binding that a slot had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Left {
    pub(crate) binding: Binding,
    /// When it left, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// By what, in a word.
    pub(crate) by: String,
}

impl Left {
    fn new(binding: &Binding, by: &str) -> Left {
        Left { binding: binding.alone(), at_ms: unix_ms(), by: by.to_owned() }
    }
}

impl History {
    pub(crate) fn is_empty(&self) -> bool {
        self.earlier.is_empty() && self.later.is_empty()
    }

    fn side(&self, step: Step) -> &[Left] {
        if step == Step::Forward { &self.later } else { &self.earlier }
    }

    /// Follows a slot from one binding to the next.
    fn follow(&mut self, old: &Binding, new: &Binding, step: Step) {
        let is_same = old.is_as(new);
        match (step, &old.aside, &new.aside) {
            // What stood in for a quarantined plugin stays, and the plugin is what was left.
            (Step::Back, Some(aside), None) if is_same => {
                self.later.insert(0, Left::new(&aside.binding, "rollback"));
            }
            (Step::Back, ..) => {
                leave_up_to(&mut self.earlier, new);
                self.later.insert(0, Left::new(old, "rollback"));
            }
            (Step::Forward, ..) => {
                leave_up_to(&mut self.later, new);
                self.earlier.insert(0, Left::new(old, "rollback"));
            }
            // What was before decides again, and is no step back any more.
            (Step::Withdrawn, ..) => leave_up_to(&mut self.earlier, new),
            (Step::Onward, _, Some(aside)) if !is_same && aside.binding.is_as(old) => {
                leave_up_to(&mut self.earlier, new);
            }
            // The end of a quarantine is no swap: who stood in is what a rollback goes back to.
            (Step::Onward, Some(aside), None) if !is_same && aside.binding.is_as(new) => {
                self.earlier.insert(0, Left::new(old, "quarantine"));
            }
            (Step::Onward, ..) if is_same => {}
            (Step::Onward, ..) => {
                self.earlier.insert(0, Left::new(old, "swap"));
                self.later.clear();
            }
        }
        self.earlier.truncate(STEPS);
        self.later.truncate(STEPS);
    }

    pub(super) fn map(self, with: impl Fn(Binding) -> Binding) -> History {
        let side = |side: Vec<Left>| {
            side.into_iter().map(|left| Left { binding: with(left.binding), ..left }).collect()
        };
        History { earlier: side(self.earlier), later: side(self.later) }
    }

    fn forget(&mut self, digest: &str) {
        let is_other = |left: &Left| left.binding.digest.as_deref() != Some(digest);
        self.earlier.retain(is_other);
        self.later.retain(is_other);
    }

    fn names(&self, digest: &str) -> bool {
        self.earlier.iter().chain(&self.later).any(|left| left.binding.digest.as_deref() == Some(digest))
    }
}

/// Takes away what leads to this binding, and the binding itself.
fn leave_up_to(side: &mut Vec<Left>, binding: &Binding) {
    if let Some(at) = side.iter().position(|left| left.binding.is_as(binding)) {
        side.drain(..=at);
    }
}

impl Plugins {
    /// Notes what a slot is bound to now and how it came to that, and returns the writes that keep it.
    pub(crate) fn bind(&mut self, status: &SlotStatus, step: Step) -> Vec<Write> {
        let mut binding = Binding::of(status);
        let mut writes = Vec::new();
        if let Some(old) = self.bindings.get(status.slot) {
            let mut history = old.history.clone();
            history.follow(old, &binding, step);
            binding.history = history;
            let is_gone = |left: &&Left| {
                let digest = left.binding.digest.as_deref();
                digest.is_some_and(|digest| !binding.history.names(digest))
            };
            let gone = old.history.earlier.iter().chain(&old.history.later).filter(is_gone);
            writes.extend(gone.filter_map(|left| left.binding.digest.as_deref()).map(|digest| {
                Write::Delete { table: Table::Meta, key: left_key(status.slot, digest).into_bytes() }
            }));
        }
        writes.push(keep(status.slot, &binding));
        self.bindings.insert(status.slot, binding);
        writes
    }

    /// Returns what a slot was bound to in this direction, the nearest first, as far as it could be bound again.
    pub(crate) fn steps(&self, kind: Kind, step: Step) -> impl Iterator<Item = &Left> {
        let now = self.bindings.get(kind.slot());
        let side = now.map_or(&[][..], |now| now.history.side(step));
        let leads_there = move |left: &&Left| {
            let installed = left.binding.digest.as_deref().map(|digest| self.installed_as(digest));
            installed.is_none_or(|found| found.is_some_and(|found| self.check_stay(found).is_ok()))
        };
        // What lay between may have been removed, so that the next step is what is there already.
        let is_elsewhere = move |left: &&Left| now.is_none_or(|now| !now.is_as(&left.binding));
        side.iter().filter(leads_there).skip_while(move |left| !is_elsewhere(left))
    }

    /// Says whether one rollback, or taking one back, leads to this revision in some slot, and in which.
    pub(crate) fn next_to(&self, digest: &[u8; 32]) -> Option<&'static str> {
        let digest = hex(digest);
        let leads = |kind: Kind, step| {
            let next = self.steps(kind, step).next();
            next.is_some_and(|left| left.binding.digest.as_deref() == Some(&*digest))
        };
        let kinds = super::SLOTS.into_iter();
        let mut next = kinds.filter(|kind| leads(*kind, Step::Back) || leads(*kind, Step::Forward));
        next.next().map(|kind| kind.slot())
    }

    /// Says whether a slot keeps just this binding warm.
    pub(crate) fn is_warm(status: &SlotStatus, binding: &Binding) -> bool {
        let warm = status.previous.as_ref().map(|revision| hex(&revision.digest));
        status.can_roll_back
            && !status.has_stand_in()
            && warm == binding.digest
            && (warm.is_none() || settings_of(&status.previous_settings) == binding.settings)
    }

    /// Returns the revision of a binding; `None` is the native built-in.
    pub(crate) fn revision_of(&self, binding: &Binding) -> Option<&Revision> {
        self.installed_as(binding.digest.as_deref()?).map(|installed| &installed.revision)
    }

    pub(super) fn installed_as(&self, digest: &str) -> Option<&Installed> {
        self.installed.values().find(|installed| hex(&installed.revision.digest) == digest)
    }

    /// Forgets a revision that is removed in all slots; returns the writes for that.
    pub(super) fn forget_steps(&mut self, digest: &[u8; 32]) -> Vec<Write> {
        let digest = hex(digest);
        let mut writes = Vec::new();
        for (slot, binding) in &mut self.bindings {
            if binding.history.names(&digest) {
                binding.history.forget(&digest);
                writes.push(keep(slot, binding));
                let key = left_key(slot, &digest).into_bytes();
                writes.push(Write::Delete { table: Table::Meta, key });
            }
        }
        writes
    }
}

fn keep(slot: &str, binding: &Binding) -> Write {
    let value = serde_json::to_vec(binding).expect("a binding has string keys only");
    Write::Put { table: Table::Bindings, key: slot.as_bytes().to_vec(), value: value.into() }
}

/// Returns the key of the state that a revision left a slot with.
pub(super) fn left_key(slot: &str, digest: &str) -> String {
    format!("{LEFT_PREFIX}{slot}/{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(digest: &str) -> Binding {
        let text = format!(r#"{{"digest": "{digest}", "settings": {{}}}}"#);
        serde_json::from_str(&text).expect("it parses")
    }

    fn digests(side: &[Left]) -> Vec<&str> {
        side.iter().map(|left| left.binding.digest.as_deref().unwrap_or("native")).collect()
    }

    /// Follows a slot through these bindings; returns what lies before and after the last one.
    fn walk(from: &str, steps: &[(Step, &str)]) -> (Vec<String>, Vec<String>) {
        let mut history = History::default();
        let mut now = bound(from);
        for (step, to) in steps {
            history.follow(&now, &bound(to), *step);
            now = bound(to);
        }
        let owned = |side: &[Left]| digests(side).into_iter().map(str::to_owned).collect();
        (owned(&history.earlier), owned(&history.later))
    }

    #[test]
    fn rollbacks_walk_back_and_forward_and_a_swap_ends_the_way_forward() {
        use Step::{Back, Forward, Onward, Withdrawn};
        for (steps, earlier, later) in [
            (&[(Onward, "b"), (Onward, "c")][..], &["b", "a"][..], &[][..]),
            (&[(Onward, "b"), (Onward, "c"), (Back, "b")], &["a"], &["c"]),
            (&[(Onward, "b"), (Onward, "c"), (Back, "b"), (Back, "a")], &[], &["b", "c"]),
            (&[(Onward, "b"), (Onward, "c"), (Back, "b"), (Back, "a"), (Forward, "b")], &["a"], &["c"]),
            (&[(Onward, "b"), (Back, "a"), (Onward, "d")], &["a"], &[]),
            (&[(Onward, "b"), (Onward, "b")], &["a"], &[]),
            (&[(Onward, "b"), (Onward, "c"), (Withdrawn, "b")], &["a"], &[]),
            // What lay between cannot be bound any more: it is passed over.
            (&[(Onward, "b"), (Onward, "c"), (Back, "a")], &[], &["c"]),
        ] {
            let (was, next) = walk("a", steps);

            assert_eq!((was, next), (to_owned(earlier), to_owned(later)), "{steps:?}");
        }
    }

    fn to_owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn no_more_is_remembered_than_so_many_steps() {
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let steps: Vec<(Step, &str)> = names.iter().map(|name| (Step::Onward, name.as_str())).collect();

        let (earlier, _) = walk("first", &steps);

        assert_eq!((earlier.len(), earlier[0].as_str()), (STEPS, "18"));
    }
}
