use ed25519_dalek::SigningKey;

use super::*;
use crate::record::Facts;

const SUSPICION: Duration = Duration::from_secs(1);

fn key(n: u16) -> SigningKey {
    SigningKey::from_bytes(blake3::hash(&n.to_le_bytes()).as_bytes())
}

fn id(n: u16) -> NodeId {
    NodeId(key(n).verifying_key().to_bytes())
}

fn record(n: u16, version: u64, facts: Facts) -> Arc<Record> {
    Arc::new(Record::sign(&key(n), version, facts))
}

fn linked(n: u16, version: u64, to: &[u16]) -> Arc<Record> {
    record(n, version, Facts { neighbours: to.iter().map(|n| id(*n)).collect(), ..Facts::default() })
}

fn at(ms: u64) -> Now {
    Now { instant: Instant(ms * 1000), unix_ms: 1_000_000 + ms }
}

/// Node 0 with members 1 to `count`, each of which lists all the others.
fn members(count: u16, capacity: usize) -> Members {
    let mut members = Members::new(id(0), capacity);
    let mut rng = fastrand::Rng::with_seed(1);
    let all: Vec<u16> = (0..=count.min(8)).collect();
    for n in 1..=count {
        members.learn(at(0), linked(n, 5, &all), &mut rng);
    }
    members
}

fn accuse(members: &mut Members, ms: u64, by: u16, of: u16, version: u64) -> bool {
    members.accuse(at(ms).instant, &Accusation::sign(&key(by), id(of), version), SUSPICION)
}

// MN-06, G05: one word is not enough where there are two neighbours, and the accused has the last one.
#[test]
fn the_accused_is_dead_when_two_agree_and_lives_when_it_refutes() {
    let mut members = members(4, 64);

    assert!(accuse(&mut members, 0, 1, 4, 5));
    assert!(!accuse(&mut members, 1, 1, 4, 5), "the same word twice is one");
    members.expire(at(1500).instant, SUSPICION);
    assert_eq!(members.state(&id(4)), Some(MemberState::Suspect));
    assert!(accuse(&mut members, 1500, 2, 4, 5));
    members.expire(at(2600).instant, SUSPICION);
    assert_eq!(members.state(&id(4)), Some(MemberState::Dead));

    let mut rng = fastrand::Rng::with_seed(1);
    assert_eq!(members.learn(at(2700), linked(4, 5, &[]), &mut rng), Learnt::Nothing, "no resurrection");
    assert_eq!(members.learn(at(2700), linked(4, 6, &[1]), &mut rng), Learnt::Back);
    assert!(!accuse(&mut members, 2800, 1, 4, 5), "what it has refuted does not count");
}

#[test]
fn one_word_alone_counts_in_the_end() {
    let mut members = members(4, 64);
    accuse(&mut members, 0, 1, 4, 5);

    members.expire(at(5900).instant, SUSPICION);
    assert_eq!(members.state(&id(4)), Some(MemberState::Suspect));
    members.expire(at(6100).instant, SUSPICION);
    assert_eq!(members.state(&id(4)), Some(MemberState::Dead));
}

// G05
#[test]
fn whoever_is_refuted_three_times_is_not_listened_to_for_ten_minutes() {
    let mut members = members(4, 64);
    let mut rng = fastrand::Rng::with_seed(1);
    for version in 5..8 {
        assert!(accuse(&mut members, version, 1, 4, version));
        members.learn(at(version), linked(4, version + 1, &[1, 2]), &mut rng);
    }

    assert!(!accuse(&mut members, 10, 1, 4, 8));
    assert!(accuse(&mut members, 10, 2, 4, 8), "others are");
    members.learn(at(11), linked(4, 9, &[1, 2]), &mut rng);
    assert!(accuse(&mut members, 601_000, 1, 4, 9));
}

// G05: a version far ahead of the clock would never be replaced.
#[test]
fn a_version_from_the_future_is_not_believed() {
    let mut members = Members::new(id(0), 64);
    let mut rng = fastrand::Rng::with_seed(1);
    let late = at(0).unix_ms + MAX_SKEW_MS;

    assert_eq!(members.learn(at(0), linked(1, late + 1, &[]), &mut rng), Learnt::Nothing);
    assert_eq!(members.learn(at(0), linked(1, late, &[]), &mut rng), Learnt::News);
}

// MN-25, G06: who left is remembered as such, and then forgotten, but not its last version.
#[test]
fn who_left_is_buried_and_no_old_record_brings_it_back() {
    let mut members = members(1, 64);
    let mut rng = fastrand::Rng::with_seed(1);
    members.learn(at(0), record(1, 9, Facts { left: true, ..Facts::default() }), &mut rng);
    assert_eq!(members.state(&id(1)), Some(MemberState::Left));

    let later = at(u64::try_from(REMEMBER.as_millis()).expect("a day") + 1);
    members.expire(later.instant, SUSPICION);

    assert_eq!((members.len(), members.graves()), (0, 1));
    assert_eq!(members.learn(later, linked(1, 8, &[]), &mut rng), Learnt::Nothing);
    assert_eq!(members.learn(later, linked(1, 10, &[]), &mut rng), Learnt::News);
}

// MN-04: equal knowledge has equal digests, whatever the order, and the dead do not count.
#[test]
fn digests_are_equal_exactly_where_knowledge_is() {
    let (mut a, mut b) = (Members::new(id(0), 64), Members::new(id(0), 64));
    let mut rng = fastrand::Rng::with_seed(1);
    for n in 1..10 {
        a.learn(at(0), linked(n, 5, &[]), &mut rng);
        b.learn(at(0), linked(10 - n, 5, &[]), &mut rng);
    }
    assert_eq!(a.digest(), b.digest());

    a.learn(at(0), linked(3, 6, &[]), &mut rng);
    let differ = (0..16).filter(|n| a.digest()[*n] != b.digest()[*n]).collect::<Vec<_>>();
    assert_eq!(differ, [bucket(&id(3))]);
    b.learn(at(0), linked(3, 6, &[]), &mut rng);
    assert_eq!(a.digest(), b.digest());
    let before = b.digest();
    accuse(&mut b, 0, 1, 2, 5);
    b.expire(at(60_000).instant, SUSPICION);
    assert_ne!(b.digest(), before, "the dead are not told of");
}

// G07: 2,000 members are compared a page at a time; every difference is found, and no page is larger.
#[test]
fn two_thousand_members_are_compared_in_pages_that_miss_none() {
    let mut rng = fastrand::Rng::with_seed(1);
    let (mut a, mut b) = (Members::new(id(0), 4096), Members::new(id(1), 4096));
    for n in 2..2002u16 {
        let newer = u64::from(n % 3);
        a.learn(at(0), linked(n, 5 + newer, &[]), &mut rng);
        b.learn(at(0), linked(n, 6, &[]), &mut rng);
    }
    let (mut tell, mut want) = (0, 0);
    for bucket in 0..16 {
        let mut from = bounds(bucket).0;
        loop {
            let (first, last, rows) = a.page(bucket, from, 1);
            assert!(rows.len() <= PAGE + 1);
            let (told, wanted) = b.compare(first, last, &rows, 1);
            tell += told.iter().filter(|node| **node != id(1)).count();
            want += wanted.iter().filter(|node| **node != id(0)).count();
            if last == bounds(bucket).1 {
                break;
            }
            let mut next = last.0;
            for byte in next.iter_mut().rev() {
                *byte = byte.wrapping_add(1);
                if *byte != 0 {
                    break;
                }
            }
            from = NodeId(next);
        }
    }

    let of = |rest: u16| (2..2002u16).filter(|n| n % 3 == rest).count();
    assert_eq!((tell, want), (of(0), of(2)));
}

// G06: what is kept is bounded, whoever makes up members, and neighbours stay.
#[test]
fn a_sample_stays_as_large_as_it_is_and_keeps_those_it_holds() {
    let mut members = members(8, 8);
    let mut rng = fastrand::Rng::with_seed(1);
    members.hold(id(3));

    for n in 100..400 {
        members.learn(at(0), linked(n, 5, &[]), &mut rng);
    }

    assert_eq!((members.len(), members.is_sample()), (8, true));
    assert!(members.record(&id(3)).is_some());
    assert_eq!(members.take_forgotten().len(), 300);
}

// PM-83: a part of the mesh that nobody here has a way to is not watched by anybody here.
#[test]
fn members_beyond_every_link_are_orphans() {
    let mut members = Members::new(id(0), 64);
    let mut rng = fastrand::Rng::with_seed(1);
    for (n, to) in [(1, [0, 2]), (2, [1, 1]), (3, [4, 4]), (4, [3, 3])] {
        members.learn(at(0), linked(n, 5, &to), &mut rng);
    }

    let mut orphans = members.orphans([id(1)]);
    orphans.sort_unstable();
    let mut far = vec![id(3), id(4)];
    far.sort_unstable();

    assert_eq!(orphans, far);
    assert_eq!(members.orphans([id(1), id(3)]), []);
}
