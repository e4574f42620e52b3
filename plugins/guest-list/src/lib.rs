//! Links to those whom its settings name, or who say the right thing of themselves; a few strangers, if there is room.

use mesh_sdk::admission::{Admission, Approach, Health, NodeKey, Place, Visitor};
use mesh_sdk::{Refusal, Settings};

/// Entries of one setting.
const MAX_ENTRIES: usize = 256;
/// What an entry begins with that is the beginning of a key.
const KEY: &str = "key:";
const STATE: usize = 16;

/// Whom an entry of a list means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// By its name; `*` stands for any characters.
    Name(String),
    /// By the first digits of its key.
    Key(String),
}

/// The policy.
pub struct GuestList {
    allow: Vec<Entry>,
    deny: Vec<Entry>,
    labels: Vec<(String, String)>,
    max_strangers: u32,
    wait_for_record: bool,
    /// Links that there are after the answers of this call so far.
    links: u32,
    admitted: u64,
    denied: u64,
}

impl Default for GuestList {
    fn default() -> Self {
        GuestList {
            allow: vec![Entry::Name("*".to_owned())],
            deny: Vec::new(),
            labels: Vec::new(),
            max_strangers: 0,
            wait_for_record: true,
            links: 0,
            admitted: 0,
            denied: 0,
        }
    }
}

impl Admission for GuestList {
    const STATE_VERSION: u32 = 1;

    fn configure(&mut self, mut settings: Settings) -> Result<(), Refusal> {
        self.allow = entries(&mut settings, "allow", "*")?;
        self.deny = entries(&mut settings, "deny", "")?;
        let labels = settings.text("require_label", "")?;
        self.labels = parse_labels(&labels).ok_or(Refusal::BadSetting("require_label".into()))?;
        self.max_strangers = settings.integer("max_strangers", 0, 0..=64)? as u32;
        self.wait_for_record = settings.flag("wait_for_record", true)?;
        settings.finish()
    }

    fn begin(&mut self, place: &Place, _visitors: &[Visitor]) {
        self.links = place.links;
    }

    fn admit(&mut self, _place: &Place, visitor: &Visitor) -> bool {
        let others = self.links.saturating_sub(u32::from(visitor.approach == Approach::Standing));
        let is_in = self.judge(visitor, others);
        self.links = others.saturating_add(u32::from(is_in));
        let count = if is_in { &mut self.admitted } else { &mut self.denied };
        *count = count.saturating_add(1);
        is_in
    }

    /// Two counters, u64 each, little-endian: answers that let in, answers that did not.
    fn save(&self) -> Vec<u8> {
        [self.admitted.to_le_bytes(), self.denied.to_le_bytes()].concat()
    }

    fn load(&mut self, from_version: u32, state: &[u8]) -> Result<(), Refusal> {
        if from_version != Self::STATE_VERSION {
            return Err(Refusal::UnknownVersion(from_version));
        }
        let state: &[u8; STATE] = state.try_into().map_err(|_| Refusal::BadState)?;
        let [admitted, denied] = [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|n| state[at + n])));
        (self.admitted, self.denied) = (admitted, denied);
        Ok(())
    }
}

impl GuestList {
    /// Answers for a visitor beside whom there are so many links.
    fn judge(&self, visitor: &Visitor, others: u32) -> bool {
        if self.deny.iter().any(|entry| entry.means(visitor)) {
            return false;
        }
        let has_label = |(key, value): &(String, String)| visitor.label(key) == Some(value);
        let is_guest =
            self.allow.iter().any(|entry| entry.means(visitor)) && self.labels.iter().all(has_label);
        is_guest || self.may_turn_out_a_guest(visitor) || others < self.max_strangers
    }

    /// Says whether nothing is known of a visitor yet that could make a guest of it.
    fn may_turn_out_a_guest(&self, visitor: &Visitor) -> bool {
        let is_unknown = visitor.health == Health::Unknown;
        let by_name = self.allow.iter().any(|entry| matches!(entry, Entry::Name(_)));
        let by_key = || self.allow.iter().any(|entry| entry.means(visitor));
        self.wait_for_record && is_unknown && (by_name || by_key())
    }
}

impl Entry {
    fn of(text: &str) -> Option<Entry> {
        let Some(digits) = text.strip_prefix(KEY) else { return Some(Entry::Name(text.to_owned())) };
        let digits = digits.to_ascii_lowercase();
        let is_key =
            !digits.is_empty() && digits.len() <= 64 && digits.bytes().all(|c| c.is_ascii_hexdigit());
        is_key.then_some(Entry::Key(digits))
    }

    fn means(&self, visitor: &Visitor) -> bool {
        match self {
            Entry::Name(pattern) => fits(pattern.as_bytes(), visitor.name.as_bytes()),
            Entry::Key(digits) => begins_with(visitor.node, digits),
        }
    }
}

fn begins_with(node: NodeKey, digits: &str) -> bool {
    let digit_of = |at: usize| {
        let byte = node.0[at / 2];
        if at.is_multiple_of(2) { byte >> 4 } else { byte & 0xf }
    };
    digits.chars().enumerate().all(|(at, digit)| digit.to_digit(16) == Some(digit_of(at).into()))
}

/// Says whether a name is as a pattern says. Goes back to the last star only, so that no pattern takes long.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of, mut star) = (0, 0, None);
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(byte) if *byte == name[of] => (at, of) = (at + 1, of + 1),
            _ => match star {
                Some((back, from)) => {
                    (at, of) = (back + 1, from + 1);
                    star = Some((back, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

fn entries(settings: &mut Settings, name: &str, default: &str) -> Result<Vec<Entry>, Refusal> {
    let text = settings.text(name, default)?;
    let entries: Option<Vec<Entry>> = parts(&text).map(Entry::of).collect();
    let entries = entries.filter(|entries| entries.len() <= MAX_ENTRIES);
    entries.ok_or_else(|| Refusal::BadSetting(name.to_owned()))
}

fn parse_labels(text: &str) -> Option<Vec<(String, String)>> {
    let label = |part: &str| {
        let (key, value) = part.split_once('=')?;
        (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
    };
    let labels: Option<Vec<_>> = parts(text).map(label).collect();
    labels.filter(|labels| labels.len() <= MAX_ENTRIES)
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

mesh_sdk::admission!(GuestList);

#[cfg(test)]
mod tests {
    use mesh_sdk::Value;

    use super::*;

    fn list<const N: usize>(settings: [(&str, Value); N]) -> GuestList {
        let mut policy = GuestList::default();
        policy.configure(Settings::from(settings)).unwrap();
        policy
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn visitor(name: &str, key: u8, labels: &[(&str, &str)]) -> Visitor {
        let labels = labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        Visitor {
            node: NodeKey([key; 32]),
            name: name.to_owned(),
            labels,
            health: Health::Alive,
            ..Visitor::default()
        }
    }

    #[test]
    fn guests_are_named_by_patterns_of_names_and_by_the_beginning_of_keys() {
        let mut policy =
            list([("allow", text("site-*, gate, *-relay-*, key:AB1")), ("deny", text("site-9"))]);
        for (name, key, want) in [
            ("site-1", 0, true),
            ("site-", 0, true),
            ("site-9", 0, false),
            ("my-site-1", 0, false),
            ("gate", 0, true),
            ("gates", 0, false),
            ("eu-relay-7-relay-x", 0, true),
            ("eu-relay", 0, false),
            ("x", 0xab, false),
            ("x", 0, false),
        ] {
            assert_eq!(policy.admit(&Place::default(), &visitor(name, key, &[])), want, "{name} {key}");
        }
        let mut by_key = list([("allow", text("key:ABa"))]);
        assert!(by_key.admit(&Place::default(), &visitor("x", 0xab, &[])));
        assert!(!by_key.admit(&Place::default(), &visitor("x", 0xba, &[])));
    }

    #[test]
    fn a_guest_says_what_is_required_of_itself() {
        let mut policy = list([("require_label", text("region=eu,role=relay"))]);
        for (labels, want) in [
            (&[("region", "eu"), ("role", "relay")][..], true),
            (&[("region", "eu")], false),
            (&[("region", "us"), ("role", "relay")], false),
        ] {
            assert_eq!(policy.admit(&Place::default(), &visitor("x", 0, labels)), want, "{labels:?}");
        }
    }

    #[test]
    fn whom_nothing_is_known_of_comes_in_until_it_says_who_it_is() {
        let nobody = Visitor { health: Health::Unknown, ..visitor("", 7, &[]) };
        for (allow, wait, want) in [
            ("site-*", true, true),
            ("site-*", false, false),
            ("key:ff", true, false),
            ("key:07", false, true),
        ] {
            let mut policy = list([("allow", text(allow)), ("wait_for_record", wait.into())]);
            assert_eq!(policy.admit(&Place::default(), &nobody), want, "{allow} {wait}");
            assert!(!policy.admit(&Place::default(), &visitor("other", 8, &[])));
        }
        let mut labelled = list([("allow", text("key:07")), ("require_label", text("a=b"))]);
        assert!(labelled.admit(&Place::default(), &nobody));
        assert!(!labelled.admit(&Place::default(), &visitor("named", 7, &[])));
    }

    #[test]
    fn strangers_come_in_while_there_are_few_links_and_give_way_when_there_are_more() {
        let mut policy = list([("allow", text("site-*")), ("max_strangers", 2.into())]);
        let of = |name, approach| Visitor { approach, ..visitor(name, 0, &[]) };
        let mut ask = |links, visitors: &[Visitor]| -> Vec<bool> {
            let place = Place { links, ..Place::default() };
            policy.begin(&place, visitors);
            visitors.iter().map(|visitor| policy.admit(&place, visitor)).collect()
        };
        let (inbound, outbound) = (of("x", Approach::Inbound), of("x", Approach::Outbound));
        let (standing, guest) = (of("x", Approach::Standing), of("site-1", Approach::Inbound));

        assert_eq!(ask(1, &[inbound.clone(), outbound.clone()]), [true, false]);
        assert_eq!(ask(0, &[guest.clone(), guest, outbound]), [true, true, false]);
        assert_eq!(ask(2, std::slice::from_ref(&standing)), [true]);
        // Of four links two are to stay: whoever is asked about first goes.
        assert_eq!(ask(4, &vec![standing; 4]), [false, false, true, true]);
    }

    #[test]
    fn a_successor_goes_on_counting_and_damaged_state_is_refused() {
        let mut old = list([("allow", text("a"))]);
        old.admit(&Place::default(), &visitor("a", 0, &[]));
        old.admit(&Place::default(), &visitor("b", 0, &[]));
        let mut new = GuestList::default();
        new.load(1, &old.save()).unwrap();
        assert_eq!((new.admitted, new.denied), (1, 1));

        for (version, state, want) in
            [(2, vec![0; 16], Refusal::UnknownVersion(2)), (1, vec![0; 15], Refusal::BadState)]
        {
            assert_eq!(new.load(version, &state), Err(want));
            assert_eq!(new.save(), old.save());
        }
    }

    #[test]
    fn settings_that_say_nothing_sensible_are_refused() {
        let many = "a,".repeat(MAX_ENTRIES + 1);
        for (name, value) in [
            ("allow", text("key:")),
            ("allow", text("key:xyz")),
            ("allow", text(&many)),
            ("deny", Value::Integer(1)),
            ("require_label", text("region")),
            ("require_label", text("=eu")),
            ("max_strangers", Value::Integer(65)),
        ] {
            let refused = GuestList::default().configure(Settings::from([(name, value.clone())]));

            assert_eq!(refused, Err(Refusal::BadSetting(name.into())), "{name} {value:?}");
        }
    }
}
