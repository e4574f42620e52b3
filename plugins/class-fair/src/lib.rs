//! Five service classes with fair shares: large and stale messages step back, topics can be given a class, and
//! what a quiet class does not use goes to those that wait.

use mesh_sdk::qos::{Header, Load, Qos, Shares};
use mesh_sdk::{Class, Refusal, Settings};

/// How old a message may be in its class, in milliseconds; peat-mesh's table. Critical and bulk have no age.
const LATENCY_MS: [u32; 5] = [u32::MAX, 5_000, 60_000, 300_000, u32::MAX];
/// Topic rules of one setting.
const MAX_RULES: usize = 256;
/// Percent of a link that stay for control traffic.
const CONTROL: u32 = 10;
/// What a quiet class keeps, so that its next message does not wait.
const QUIET: u8 = 2;
/// What critical traffic keeps however quiet it is.
const CRITICAL: u8 = 15;
/// The backlog of a class is smoothed over this many calls of `divide`.
const SMOOTHING: u64 = 4;

/// The policy.
pub struct ClassFair {
    critical_max_bytes: u32,
    large_bytes: u32,
    demote_stale: bool,
    /// Sorted by tag.
    rules: Vec<(u32, Class)>,
    /// Messages by the class they were given; the last one counts those that stepped back.
    counts: [u64; 6],
    backlog: [u64; 5],
}

impl Default for ClassFair {
    fn default() -> Self {
        ClassFair {
            critical_max_bytes: 64 << 10,
            large_bytes: 256 << 10,
            demote_stale: true,
            rules: Vec::new(),
            counts: [0; 6],
            backlog: [0; 5],
        }
    }
}

impl Qos for ClassFair {
    const STATE_VERSION: u32 = 1;

    fn configure(&mut self, mut settings: Settings) -> Result<(), Refusal> {
        let sizes = 0..=i64::from(u32::MAX);
        self.critical_max_bytes = settings.integer("critical_max_bytes", 64 << 10, sizes.clone())? as u32;
        self.large_bytes = settings.integer("large_bytes", 256 << 10, sizes)? as u32;
        self.demote_stale = settings.flag("demote_stale", true)?;
        let rules = settings.text("topic_classes", "")?;
        self.rules = parse_rules(&rules).ok_or(Refusal::BadSetting("topic_classes".into()))?;
        settings.finish()
    }

    #[inline]
    fn classify(&mut self, header: &Header) -> Option<Class> {
        let asked = self.rule(header.tag).unwrap_or(header.class);
        let class = self.step_back(asked, header);
        self.counts[class as usize] += 1;
        self.counts[5] += u64::from(class != asked);
        Some(class)
    }

    fn divide(&mut self, _now_ms: u64, load: &Load) -> Shares {
        for (smooth, queued) in self.backlog.iter_mut().zip(load.queued_bytes) {
            *smooth = (*smooth * (SMOOTHING - 1) + queued) / SMOOTHING;
        }
        shares(&self.backlog)
    }

    /// Five counters by class, the counter of those that stepped back, five backlogs; u64 each, little-endian.
    fn save(&self) -> Vec<u8> {
        self.counts.iter().chain(&self.backlog).flat_map(|number| number.to_le_bytes()).collect()
    }

    fn load(&mut self, from_version: u32, state: &[u8]) -> Result<(), Refusal> {
        if from_version != Self::STATE_VERSION {
            return Err(Refusal::UnknownVersion(from_version));
        }
        let (numbers, rest) = state.as_chunks::<8>();
        if numbers.len() != 11 || !rest.is_empty() {
            return Err(Refusal::BadState);
        }
        let number = |at: usize| u64::from_le_bytes(numbers[at]);
        self.counts = std::array::from_fn(number);
        self.backlog = std::array::from_fn(|at| number(6 + at));
        Ok(())
    }
}

impl ClassFair {
    #[inline]
    fn rule(&self, tag: u32) -> Option<Class> {
        if self.rules.is_empty() || tag == 0 {
            return None;
        }
        let at = self.rules.binary_search_by_key(&tag, |rule| rule.0).ok()?;
        Some(self.rules[at].1)
    }

    #[inline]
    fn step_back(&self, asked: Class, header: &Header) -> Class {
        if asked == Class::Critical {
            // Never for its age: it is late already.
            return if header.size > self.critical_max_bytes { Class::High } else { asked };
        }
        let is_stale = self.demote_stale && header.age_ms > LATENCY_MS[asked as usize];
        if header.size > self.large_bytes || is_stale { asked.demoted() } else { asked }
    }
}

/// Takes from quiet classes what those with a backlog can use, in the proportion of their own shares.
fn shares(backlog: &[u64; 5]) -> Shares {
    let usual = Shares::default();
    let waits = |class: usize| backlog[class] > 0;
    if !(0..5).any(waits) {
        return usual;
    }
    let mut guaranteed: [u8; 5] = std::array::from_fn(|class| match (waits(class), class) {
        (true, _) => usual.guaranteed[class],
        (false, 0) => CRITICAL,
        (false, _) => QUIET,
    });
    let taken: u32 = guaranteed.iter().map(|&share| u32::from(share)).sum();
    let left = (100 - CONTROL).saturating_sub(taken);
    let waiting: u32 =
        (0..5).filter(|&class| waits(class)).map(|class| u32::from(usual.guaranteed[class])).sum();
    for class in (0..5).filter(|&class| waits(class)) {
        let more = left * u32::from(usual.guaranteed[class]) / waiting.max(1);
        guaranteed[class] = guaranteed[class].saturating_add(u8::try_from(more).unwrap_or(u8::MAX));
    }
    let burst = std::array::from_fn(|class| usual.burst[class].max(guaranteed[class]));
    Shares { guaranteed, burst }
}

/// Reads `tag=class` pairs, separated by commas; tags are hexadecimal.
fn parse_rules(text: &str) -> Option<Vec<(u32, Class)>> {
    let mut rules = Vec::new();
    for rule in text.split(',').map(str::trim).filter(|rule| !rule.is_empty()) {
        let (tag, class) = rule.split_once('=')?;
        let tag = tag.trim();
        let tag = u32::from_str_radix(tag.strip_prefix("0x").unwrap_or(tag), 16).ok()?;
        rules.push((tag, Class::from_name(class.trim())?));
    }
    rules.sort_unstable_by_key(|rule: &(u32, Class)| rule.0);
    let is_unambiguous = rules.windows(2).all(|pair| pair[0].0 != pair[1].0);
    (is_unambiguous && rules.len() <= MAX_RULES).then_some(rules)
}

mesh_sdk::qos!(ClassFair);

#[cfg(test)]
mod tests {
    use super::*;

    fn header(class: Class) -> Header {
        Header { now_ms: 0, class, size: 100, age_ms: 0, tag: 0 }
    }

    fn configured<const N: usize>(settings: [(&str, mesh_sdk::Value); N]) -> Result<ClassFair, Refusal> {
        let mut policy = ClassFair::default();
        policy.configure(Settings::from(settings))?;
        Ok(policy)
    }

    #[test]
    fn an_ordinary_message_keeps_the_class_it_asked_for() {
        let mut policy = ClassFair::default();

        for class in Class::ALL {
            assert_eq!(policy.classify(&header(class)), Some(class));
        }
    }

    #[test]
    fn large_and_stale_messages_step_back_by_one_class() {
        let mut policy = ClassFair::default();
        for (asked, size, age_ms, want) in [
            (Class::Critical, 65_536, 0, Class::Critical),
            (Class::Critical, 65_537, 0, Class::High),
            (Class::Critical, 100, u32::MAX, Class::Critical),
            (Class::High, 300_000, 0, Class::Normal),
            (Class::High, 100, 5_001, Class::Normal),
            (Class::Normal, 100, 60_000, Class::Normal),
            (Class::Normal, 100, 60_001, Class::Low),
            (Class::Low, 100, 300_001, Class::Bulk),
            (Class::Bulk, u32::MAX, u32::MAX, Class::Bulk),
        ] {
            let got = policy.classify(&Header { size, age_ms, ..header(asked) });

            assert_eq!(got, Some(want), "{asked:?}, {size} bytes, {age_ms} ms");
        }
    }

    #[test]
    fn a_topic_gets_the_class_of_its_rule_and_no_other_topic_does() {
        let mut policy = configured([("topic_classes", "0x10=high, ff=bulk".into())]).unwrap();

        for (tag, want) in
            [(0x10, Class::High), (0xff, Class::Bulk), (0x11, Class::Normal), (0, Class::Normal)]
        {
            let got = policy.classify(&Header { tag, ..header(Class::Normal) });

            assert_eq!(got, Some(want), "{tag:x}");
        }
    }

    #[test]
    fn rules_that_cannot_be_read_or_contradict_each_other_are_refused() {
        for rules in ["10", "10=urgent", "xyz=low", "10=low,0x10=high"] {
            let refused = configured([("topic_classes", rules.into())]).err();

            assert_eq!(refused, Some(Refusal::BadSetting("topic_classes".into())), "{rules}");
        }
    }

    #[test]
    fn shares_are_the_usual_ones_while_nothing_waits() {
        assert_eq!(ClassFair::default().divide(0, &Load::default()), Shares::default());
    }

    #[test]
    fn a_waiting_class_gets_what_quiet_ones_leave_and_control_traffic_keeps_its_tenth() {
        let mut policy = ClassFair::default();

        let shares = policy.divide(0, &Load { queued_bytes: [0, 0, 0, 0, 1 << 20], ..Load::default() });

        assert!(shares.guaranteed[4] > 50, "{shares:?}");
        assert!(shares.guaranteed[0] >= CRITICAL, "{shares:?}");
        assert!(shares.guaranteed.iter().map(|&share| u32::from(share)).sum::<u32>() <= 90, "{shares:?}");
    }

    #[test]
    fn no_load_makes_the_shares_exceed_the_link() {
        for waiting in 0..32u32 {
            let queued_bytes = std::array::from_fn(|class| u64::from(waiting >> class & 1) * 1_000_000);

            let shares = ClassFair::default().divide(0, &Load { queued_bytes, ..Load::default() });

            let sum: u32 = shares.guaranteed.iter().map(|&share| u32::from(share)).sum();
            assert!(
                sum <= 90 && shares.guaranteed.iter().all(|&share| share > 0),
                "{waiting:05b}: {shares:?}"
            );
        }
    }

    #[test]
    fn a_successor_takes_over_the_counters_and_refuses_damaged_ones() {
        let mut old = ClassFair::default();
        old.classify(&header(Class::Low));
        let mut new = ClassFair::default();

        assert_eq!(new.load(1, &old.save()), Ok(()));

        assert_eq!(new.save(), old.save());
        assert_eq!(new.load(1, &[0; 87]), Err(Refusal::BadState));
        assert_eq!(new.load(9, &[]), Err(Refusal::UnknownVersion(9)));
    }
}
