//! How a place in the hierarchy, and a change of it, is shown.

use mesh_node::api::{
    CandidateRow, ContenderRow, HierarchyReport, NamedNode, ProfileInfo, ProfileReport, WeightsInfo,
};

use crate::commands::ping::chosen_by;
use crate::output::human::{self, BAD, DIM, GOOD, WARN, styled};
use crate::output::{Column, Pair, Rows, Show, View};

const CANDIDATES: &[Column] = &[
    Column::text("candidates", "CANDIDATE", 0),
    Column::text("level", "LEVEL", 1),
    Column::number("score", "SCORE", 0),
    Column::text("parts", "MOBILITY+RESOURCES+BATTERY+PROXIMITY", 2),
    Column::number("distance_m", "DISTANCE", 3),
    Column::number("children", "CHILDREN", 3),
    Column::text("verdict", "VERDICT", 0),
];

const CONTENDERS: &[Column] = &[
    Column::text("contenders", "IN THE CELL", 0),
    Column::number("rank", "RANK", 1),
    Column::number("score", "ELECTION", 0),
    Column::text("leads", "", 0),
];

const FLAT: &str = "it takes no part in a hierarchy; meshctl topology set --level LEVEL";

impl Show for HierarchyReport {
    const SCHEMA: &'static str = "hierarchy";

    fn view(&self) -> View {
        let Some(profile) = &self.profile else {
            return View::Pairs(vec![Pair::new("profile", "profile", FLAT)]);
        };
        let mut candidates = Rows::new(CANDIDATES, "no candidate for a parent is known");
        self.candidates.iter().for_each(|row| candidates.push(candidate(row, &self.weights)));
        let mut contenders = Rows::new(CONTENDERS, "nobody could lead the cell");
        self.contenders.iter().for_each(|row| contenders.push(contender(row)));
        View::Parts(vec![self.head(profile), View::Rows(candidates), View::Rows(contenders)])
    }

    fn names(&self) -> Vec<String> {
        self.parent.iter().map(|parent| parent.node.to_string()).collect()
    }
}

trait Head {
    fn head(&self, profile: &ProfileInfo) -> View;
}

impl Head for HierarchyReport {
    fn head(&self, profile: &ProfileInfo) -> View {
        let leader = self.leader.as_ref().map_or_else(|| styled(DIM, "nobody"), called);
        View::Pairs(vec![
            Pair::new("profile", "profile", summary(profile)),
            Pair::new("role", "role", format!("{} in {}", self.role, cell(profile))),
            Pair::new("leader", "leader", leader),
            Pair::new("parent", "parent", parent(self)),
            Pair::new("lateral", "lateral", lateral(&self.lateral)),
            Pair::new("weights", "weights", weights(&self.weights)),
            Pair::new("chosen_by", "chosen by", chosen_by(&self.chosen_by)),
            Pair::new("next_look_s", "next look", format!("in {}", human::duration(self.next_look_s))),
        ])
    }
}

impl Show for ProfileReport {
    const SCHEMA: &'static str = "profile";

    fn view(&self) -> View {
        let of = |profile: &Option<ProfileInfo>| profile.as_ref().map_or_else(|| "none".to_owned(), summary);
        let after = if self.dry_run { "would be" } else { "now" };
        View::Pairs(vec![
            Pair::new("before", "before", of(&self.before)),
            Pair::new("after", after, of(&self.after)),
            Pair::new("weights", "weights", weights(&self.weights)),
        ])
    }

    fn names(&self) -> Vec<String> {
        self.after.iter().map(|profile| profile.level.clone()).collect()
    }
}

fn summary(profile: &ProfileInfo) -> String {
    let battery = profile
        .battery_percent
        .map_or_else(|| "on mains".to_owned(), |percent| format!("battery {percent} %"));
    let told = profile.told_role.as_ref().map(|role| format!(" {role}")).unwrap_or_default();
    let at = profile.position.map(|(lat, lon)| format!(", at {lat:.5},{lon:.5}")).unwrap_or_default();
    let mobility = match profile.mobility.as_str() {
        "static" => "stands still",
        "semi-mobile" => "moves now and then",
        other => other,
    };
    format!(
        "{} of {}, {}{told}, {mobility}, {battery}, {} cores {} % used, {} MB {} % used, {} Mbit/s{at}, takes {} children",
        profile.level,
        cell(profile),
        profile.strategy,
        profile.cores,
        profile.cpu_used_percent,
        profile.memory_mb,
        profile.memory_used_percent,
        profile.uplink_mbps,
        profile.max_children,
    )
}

fn cell(profile: &ProfileInfo) -> String {
    match human::safe(&profile.cell) {
        cell if cell.is_empty() => "no cell".to_owned(),
        cell => format!("cell {cell}"),
    }
}

fn parent(report: &HierarchyReport) -> String {
    let Some(parent) = &report.parent else { return styled(WARN, "none") };
    let name = parent.name.as_deref().map_or_else(|| parent.node.short(), human::safe);
    let link = if parent.linked { String::new() } else { styled(BAD, ", no link yet") };
    format!("{name} for {}{link}", human::duration(parent.since_s))
}

fn lateral(nodes: &[NamedNode]) -> String {
    let names: Vec<String> = nodes.iter().map(called).collect();
    human::or_dash(Some(names.join(" ")).filter(|names| !names.is_empty()))
}

fn weights(weights: &WeightsInfo) -> String {
    let far = weights.max_distance_m.map_or_else(
        || "any distance".to_owned(),
        |metres| format!("within {} km", f64::from(metres) / 1000.0),
    );
    let percent = |permille: u32| f64::from(permille) / 10.0;
    format!(
        "{}: mobility {} %, resources {} %, battery {} %, proximity {} %, {far}",
        weights.name,
        percent(weights.mobility),
        percent(weights.resources),
        percent(weights.battery),
        percent(weights.proximity),
    )
}

/// Each part by its weight, so that the sum can be checked by eye.
fn arithmetic(row: &CandidateRow, weights: &WeightsInfo) -> String {
    let parts = &row.parts;
    let weighed = [
        (parts.mobility, weights.mobility),
        (parts.resources, weights.resources),
        (parts.battery, weights.battery),
        (parts.proximity, weights.proximity),
    ];
    let terms: Vec<String> = weighed
        .iter()
        .map(|(part, weight)| (f64::from(part * weight) / 1000.0).round().to_string())
        .collect();
    format!("{} = {}", terms.join("+"), parts.total)
}

fn candidate(row: &CandidateRow, weights: &WeightsInfo) -> [String; 7] {
    let style = match row.verdict.as_str() {
        "parent" => GOOD,
        "behind" | "within-margin" | "cooldown" => DIM,
        _ => WARN,
    };
    [
        row.name.as_deref().map_or_else(|| row.node.short(), human::safe),
        row.level.clone(),
        human::or_dash(row.score),
        arithmetic(row, weights),
        human::or_dash(row.distance_m.map(|metres| format!("{metres} m"))),
        row.children.to_string(),
        styled(style, human::safe(&row.reason)),
    ]
}

fn contender(row: &ContenderRow) -> [String; 4] {
    [
        row.name.as_deref().map_or_else(|| row.node.short(), human::safe),
        row.rank.to_string(),
        row.score.to_string(),
        if row.leads { styled(GOOD, "leads") } else { String::new() },
    ]
}

fn called(node: &NamedNode) -> String {
    node.name.as_deref().map_or_else(|| node.node.short(), human::safe)
}

#[cfg(test)]
mod tests {
    use mesh_node::api::ScoreParts;
    use mesh_proto::NodeId;

    use super::*;

    #[test]
    fn the_arithmetic_adds_up_to_what_the_built_in_gives() {
        let weights = WeightsInfo {
            name: "default".into(),
            mobility: 300,
            resources: 300,
            battery: 200,
            proximity: 200,
            max_distance_m: Some(10_000),
        };
        let parts = ScoreParts { mobility: 1000, resources: 750, battery: 800, proximity: 1000, total: 885 };
        let row = CandidateRow {
            node: NodeId([1; 32]),
            name: Some("hq\x1b".into()),
            level: "squad".into(),
            score: Some(885),
            parts,
            distance_m: None,
            children: 2,
            verdict: "parent".into(),
            reason: "the parent".into(),
        };

        let cells = candidate(&row, &weights);

        assert_eq!(cells[3], "300+225+160+200 = 885");
        assert_eq!((cells[0].as_str(), cells[4].as_str()), ("hq ", "–"));
        assert_eq!(
            super::weights(&weights),
            "default: mobility 30 %, resources 30 %, battery 20 %, proximity 20 %, within 10 km"
        );
    }
}
