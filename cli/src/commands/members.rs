//! `meshctl members`: who is in the mesh, and whether it lives.

use clap::Args;
use mesh_node::api::{ApiError, MemberInfo, MemberState, Request};

use super::Context;
use crate::output::human::{self, BAD, DIM, GOOD, WARN, styled};
use crate::output::{Column, Rows, Show, View, now};

/// Who is in the mesh, and whether it lives.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl members
  meshctl members --all                   also those who went more than an hour ago
  meshctl members --json --fields name,state,published
  meshctl members -o name

A member is alive, suspect (a neighbour of it heard nothing for too long, and it can still speak for itself),
dead (it did not), or left (it said so). 'phi' is how suspicious the silence of a neighbour is; at the threshold
of 'meshctl up --phi' it is accused. What a member lets all know stands in 'published'.")]
pub struct Members {
    /// Also those who are dead or have left for more than an hour.
    #[arg(long)]
    all: bool,
}

/// How long the dead and those who left are shown without being asked for.
const NEWS_S: f64 = 3600.0;

impl Members {
    /// Asks and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut connection = context.connect().await?;
        let mut members: Vec<MemberInfo> = connection.call(&Request::Members).await?;
        let before = members.len();
        members.retain(|member| self.all || is_here(member) || member.since_s < NEWS_S);
        let hidden = before - members.len();
        context.out.print(connection.node, &members)?;
        if hidden > 0 {
            context.out.note(format_args!("{hidden} more went over an hour ago: meshctl members --all"));
        }
        Ok(())
    }
}

fn is_here(member: &MemberInfo) -> bool {
    matches!(member.state, MemberState::Alive | MemberState::Suspect)
}

const COLUMNS: &[Column] = &[
    Column::text("this", "", 0),
    Column::text("name", "NAME", 0),
    Column::text("state", "STATE", 0),
    Column::number("since_s", "SINCE", 1),
    Column::number("links", "LINKS", 1),
    Column::number("heard_s", "HEARD", 2),
    Column::number("phi", "PHI", 2),
    Column::number("started", "UP FOR", 3),
    Column::number("version_age_s", "RECORD", 5),
    Column::text("published", "LABELS", 6),
    Column::text("node", "NODE", 4),
];

impl Show for Vec<MemberInfo> {
    const SCHEMA: &'static str = "members";

    fn view(&self) -> View {
        let mut rows = Rows::new(COLUMNS, "no member is known");
        for member in self {
            let up_s = now().0.saturating_sub(member.started.0) as f64 / 1000.0;
            rows.push([
                if member.this { styled(DIM, "this") } else { String::new() },
                name(member),
                state(member.state),
                human::duration(member.since_s),
                member.links.to_string(),
                human::or_dash(member.heard_s.map(human::duration)),
                human::or_dash(member.phi.map(|phi| format!("{phi:.1}"))),
                human::or_dash(is_here(member).then(|| human::duration(up_s))),
                human::duration(member.version_age_s),
                labels(member),
                member.node.short(),
            ]);
        }
        View::Rows(rows)
    }

    fn names(&self) -> Vec<String> {
        self.iter().map(name).collect()
    }
}

fn name(member: &MemberInfo) -> String {
    if member.name.is_empty() { member.node.short() } else { human::safe(&member.name) }
}

fn state(state: MemberState) -> String {
    match state {
        MemberState::Alive => styled(GOOD, "alive"),
        MemberState::Suspect => styled(WARN, "suspect"),
        MemberState::Dead => styled(BAD, "dead"),
        MemberState::Left => styled(DIM, "left"),
    }
}

fn labels(member: &MemberInfo) -> String {
    let labels = member.published.iter().filter_map(|(key, value)| {
        Some(format!("{}={}", human::safe(key.strip_prefix("label.")?), human::safe(value)))
    });
    human::or_dash(Some(labels.collect::<Vec<_>>().join(" ")).filter(|labels| !labels.is_empty()))
}

#[cfg(test)]
mod tests {
    use mesh_node::api::Time;
    use mesh_proto::NodeId;

    use super::*;

    fn member(name: &str, state: MemberState) -> MemberInfo {
        MemberInfo {
            node: NodeId([7; 32]),
            name: name.to_owned(),
            this: name == "ada",
            state,
            since_s: 3.0,
            started: Time(1),
            links: 2,
            version: Time(1),
            version_age_s: 61.0,
            phi: Some(0.25),
            heard_s: Some(0.3),
            addrs: vec![],
            published: [
                ("label.region".to_owned(), "e\x1bu".to_owned()),
                ("load".to_owned(), "0".to_owned()),
            ]
            .into(),
        }
    }

    #[test]
    fn the_table_names_states_in_words_and_marks_the_node_that_answers() {
        let members = vec![member("ada", MemberState::Alive), member("", MemberState::Dead)];
        let text = members.view().render(&[], None).expect("all columns are there");
        let text = anstream::adapter::strip_str(&text).to_string();
        let lines: Vec<&str> = text.lines().collect();

        assert!(lines[1].starts_with("this  ada "), "{text}");
        assert!(lines[1].contains(" alive ") && lines[1].contains("region=e u"), "{text}");
        assert!(lines[2].contains("07070707") && lines[2].contains(" dead "), "{text}");
    }
}
