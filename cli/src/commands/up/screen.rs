//! What a person sees when a node is ready: much the first time, little later.

use mesh_node::api::StoreKind;

use super::Ready;
use crate::commands::status::policies;
use crate::output::human::{self, BOLD, DIM, WARN, styled};
use crate::output::{Show, View};

impl Show for Ready {
    const SCHEMA: &'static str = "up";

    fn view(&self) -> View {
        View::Text(if self.new { self.first_screen() } else { self.short_screen() })
    }

    fn names(&self) -> Vec<String> {
        vec![self.name.clone()]
    }
}

impl Ready {
    fn first_screen(&self) -> String {
        let mut text = format!("{}, new node\n", styled(BOLD, format!("meshctl {}", self.version)));
        let mut line = |label: &str, value: String| {
            text += &format!("  {}  {value}\n", styled(DIM, format!("{label:<10}")))
        };
        line("name", self.name.clone());
        line("identity", self.node.to_string());
        match &self.key_file {
            Some(key) => line("", format!("{}   back this file up: it is the node", key.display())),
            None => line("", styled(WARN, "in memory: gone with the process")),
        }
        line("store", self.store());
        line("listening", self.listening());
        line("reach", "networks where these addresses are reachable; no relays, no discovery".to_owned());
        line("policies", policies(&self.policies));
        line("peers", self.peers());
        text + &self.next() + &self.ready()
    }

    fn short_screen(&self) -> String {
        let head = styled(BOLD, format!("meshctl {}", self.version));
        let mut text = format!("{head}  {}  {}\n", self.name, styled(DIM, self.node));
        text += &format!("  listening   {}\n  policies    {}\n", self.listening(), policies(&self.policies));
        text + &self.ready()
    }

    fn store(&self) -> String {
        match (&self.data_dir, self.store) {
            (Some(dir), StoreKind::Redb) => format!("{} (created)", dir.display()),
            _ => styled(WARN, "none: an ephemeral node keeps nothing"),
        }
    }

    fn listening(&self) -> String {
        human::or_dash(Some(self.listening.join("  ")).filter(|text| !text.is_empty()))
    }

    fn peers(&self) -> String {
        if self.joining.is_empty() {
            "none yet".to_owned()
        } else {
            format!("joining {}", self.joining.join(", "))
        }
    }

    fn next(&self) -> String {
        let addr = self.listening.first().and_then(|text| text.rsplit(' ').next()).unwrap_or("HOST:PORT");
        let other = if self.name == "bob" { "carol" } else { "bob" };
        let lines = [
            (
                "add a second node",
                format!("meshctl up --name {other} --data-dir /tmp/{other} --join {}", dialable(addr)),
            ),
            ("watch this one", format!("meshctl -N {} events", self.name)),
            ("see it all at work", "meshctl demo".to_owned()),
        ];
        let lines =
            lines.map(|(what, command)| format!("  {}  {command}\n", styled(DIM, format!("{what:<18}"))));
        format!("\n{}\n{}", styled(BOLD, "next"), lines.concat())
    }

    fn ready(&self) -> String {
        let time = human::duration(self.startup_s);
        let kept = if self.data_dir.is_some() { ", data is kept" } else { "" };
        format!("ready in {time}. Ctrl-C or 'meshctl -N {} down' stops the node{kept}.\n", self.name)
    }
}

// Nobody can dial the unspecified address.
fn dialable(addr: &str) -> String {
    match addr.rsplit_once(':') {
        Some(("0.0.0.0" | "[::]", port)) => format!("127.0.0.1:{port}"),
        _ => addr.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use mesh_proto::NodeId;

    use super::*;

    fn ready(new: bool) -> Ready {
        Ready {
            node: NodeId([7; 32]),
            name: "brisk-otter".to_owned(),
            version: "0.1.0".to_owned(),
            new,
            pid: 1,
            socket: PathBuf::from("/run/x.sock"),
            data_dir: Some(PathBuf::from("/d")),
            key_file: Some(PathBuf::from("/d/identity.key")),
            store: StoreKind::Redb,
            listening: vec!["udp 0.0.0.0:4747".to_owned()],
            joining: vec![],
            policies: vec![],
            startup_s: 0.42,
        }
    }

    #[test]
    fn the_first_start_says_what_is_where_and_what_to_do_next() {
        let text = anstream::adapter::strip_str(&ready(true).first_screen()).to_string();
        for part in [
            "meshctl 0.1.0, new node\n",
            "  name        brisk-otter\n",
            "/d/identity.key   back this file up",
            "  listening   udp 0.0.0.0:4747\n",
            "meshctl up --name bob --data-dir /tmp/bob --join 127.0.0.1:4747\n",
            "ready in 420 ms.",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn a_later_start_prints_four_lines() {
        assert_eq!(ready(false).short_screen().lines().count(), 4);
    }
}
