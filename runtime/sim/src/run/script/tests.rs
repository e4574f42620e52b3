use super::*;

fn script(rest: &str) -> Script {
    let text = format!(
        "[scenario]\nname = \"x\"\nnodes = 20\nwarm_up = \"10s\"\nduration = \"60s\"\nquiet = \"20s\"\n{rest}"
    );
    Script::of(&Scenario::parse("x.toml", &text, &[]).expect("it is right"))
}

fn named(script: &Script, wanted: impl Fn(&Step) -> bool) -> Vec<(u64, &Step)> {
    let found = script.steps.iter().filter(|(_, step)| wanted(step));
    found.map(|(at, step)| (at.as_millis() as u64, step)).collect()
}

#[test]
fn a_script_is_the_same_each_time_and_another_for_another_seed() {
    let text = "[[fault]]\nkind = \"crash\"\nat = \"5s\"\nshare = \"30%\"\n";

    assert_eq!(script(text).steps, script(text).steps);
    assert_ne!(script(text).steps, script(&format!("seed = 2\n{text}")).steps);
}

#[test]
fn nodes_that_crash_for_a_while_come_back() {
    let script =
        script("[[fault]]\nkind = \"crash\"\nat = \"5s\"\ncount = 2\nfor = \"7s\"\nstore = \"lose\"");

    let crashes = named(&script, |step| matches!(step, Step::Crash { .. }));
    let [(15_000, Step::Crash { nodes, silent: true })] = crashes[..] else { panic!("{crashes:?}") };
    let back = named(&script, |step| matches!(step, Step::Restart { .. }));
    assert_eq!(back, [(22_000, &Step::Restart { nodes: nodes.clone(), store: Store::Lose })]);
    assert_eq!(
        (script.calm_from, script.rough_from),
        (Duration::from_secs(22), Some(Duration::from_secs(15)))
    );
}

#[test]
fn senders_are_spared_and_silent_nodes_are_passed_over() {
    for seed in 0..20 {
        let text = format!(
            "seed = {seed}\n[[traffic]]\nkind = \"broadcast\"\ncount = 5\n\
             [[fault]]\nkind = \"crash\"\nat = \"0s\"\nshare = \"90%\"\n\
             [[malicious]]\nkind = \"mute\"\ncount = 1"
        );
        let script = script(&text);
        let published = named(&script, |step| matches!(step, Step::Publish(message) if !message.is_probe));
        assert_eq!(published.len(), 5, "the sender is up all the time");
        for (at, step) in published {
            let Step::Publish(message) = step else { continue };
            assert!(script.presence.is_up(message.from, Duration::from_millis(at)));
            assert!(script.presence.is_honest(message.from));
        }
    }
}

#[test]
fn changes_of_links_that_overlap_lie_over_each_other_and_end_by_themselves() {
    let script = script(
        "[[fault]]\nkind = \"links\"\nat = \"0s\"\nfor = \"10s\"\nloss = \"1%\"\n\
         [[fault]]\nkind = \"links\"\nat = \"5s\"\nfor = \"10s\"\nlatency = \"1s\"\n",
    );

    let seen: Vec<(u64, f64, Duration)> = named(&script, |step| matches!(step, Step::Links(_)))
        .into_iter()
        .filter_map(|(at, step)| match step {
            Step::Links(links) => Some((at, links.loss, links.latency)),
            _ => None,
        })
        .collect();

    let (fast, slow) = (Duration::from_millis(10), Duration::from_secs(1));
    assert_eq!(seen, [(10_000, 0.01, fast), (15_000, 0.01, slow), (20_000, 0.0, slow), (25_000, 0.0, fast)]);
}

#[test]
fn churn_strikes_the_share_that_it_says_and_nobody_twice_at_once() {
    let script =
        script("[[fault]]\nkind = \"churn\"\nat = \"0s\"\nfor = \"50s\"\nrate = \"2%/s\"\ndown = \"5s\"");

    let mut down_until = [Duration::ZERO; 20];
    let mut crashes = 0;
    for (at, step) in &script.steps {
        let Step::Crash { nodes, .. } = step else { continue };
        for &node in nodes {
            assert!(down_until[node] <= *at, "{node} is down already");
            down_until[node] = *at + Duration::from_secs(5);
            crashes += 1;
        }
    }
    // 20 nodes, 2 % a second, 50 s, and those that are down cannot crash.
    assert!((16..=20).contains(&crashes), "{crashes}");
}

#[test]
fn a_part_is_as_large_as_the_other_and_everybody_is_in_one() {
    let script = script("[[fault]]\nkind = \"partition\"\nat = \"5s\"\nfor = \"5s\"\ngroups = 3");

    let parted = named(&script, |step| matches!(step, Step::Partition { .. }));
    let [(15_000, Step::Partition { parts, .. })] = parted[..] else { panic!("{parted:?}") };
    let mut sizes: Vec<usize> = parts.iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [6, 7, 7]);
    assert_eq!(named(&script, |step| *step == Step::Merge), [(20_000, &Step::Merge)]);
}

#[test]
fn probes_are_sent_when_the_mesh_has_had_its_time() {
    let script = script("");

    let probes = named(&script, |step| matches!(step, Step::Publish(message) if message.is_probe));
    assert_eq!(
        probes.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        [82_000, 82_200, 82_400, 82_600, 82_800]
    );
}
