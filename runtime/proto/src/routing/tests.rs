use super::*;

const A: Peer = Peer(1);
const B: Peer = Peer(2);

fn far() -> NodeId {
    NodeId([9; 32])
}

fn route(seqno: u32, cost_us: u32) -> Route {
    Route { node: far(), seqno, cost_us, hops: 1 }
}

fn table() -> Table {
    let mut table = Table::new(NodeId([0; 32]), 0);
    table.set_link(A, 100);
    table.set_link(B, 100);
    table
}

#[test]
fn the_cheaper_way_is_announced_and_poisoned_towards_its_next_hop() {
    let mut table = table();
    table.learn(Instant(0), A, &route(1, 500));
    table.learn(Instant(0), B, &route(1, 50));

    let news = table.take_news();

    assert_eq!(news[&A], [Route { node: far(), seqno: 1, cost_us: 150, hops: 2 }]);
    assert_eq!(news.get(&B), None, "it was told nothing that it would have to forget");
    table.learn(Instant(1), A, &route(2, 10));
    table.learn(Instant(1), B, &Route { cost_us: NO_WAY, ..route(2, 0) });
    assert_eq!(table.take_news()[&A][0].cost_us, NO_WAY, "poisoned reverse");
}

// G8: in a large mesh a way is told to those who ask, and withdrawn from those who no longer do.
#[test]
fn in_a_large_mesh_only_those_who_ask_are_told() {
    let mut table = table();
    table.set_size(Some(SMALL_MESH + 1));
    table.learn(Instant(0), A, &route(1, 50));
    assert!(table.take_news().is_empty());

    assert_eq!(table.on_way_request(Instant(0), B, far()), Request::Done);
    assert_eq!(table.take_news()[&B], [Route { node: far(), seqno: 1, cost_us: 150, hops: 2 }]);

    table.expire(Instant(0) + INTEREST);
    assert_eq!(table.take_news()[&B][0].cost_us, NO_WAY);
}

#[test]
fn a_request_for_an_unknown_node_is_passed_on_once_and_its_answer_goes_back() {
    let mut table = table();
    table.set_size(None);

    assert_eq!(table.on_way_request(Instant(0), B, far()), Request::PassOn);
    assert_eq!(table.on_way_request(Instant(1), B, far()), Request::Done);
    table.learn(Instant(2), A, &route(1, 50));

    assert_eq!(table.take_news()[&B][0].cost_us, 150);
}

#[test]
fn what_is_wanted_is_asked_for_ever_more_slowly_and_then_along_its_way() {
    let mut table = table();
    table.set_size(None);
    table.want(Instant(0), far());
    let mut at = Vec::new();
    for second in 0..10 {
        let now = Instant(second * 1_000_000);
        table.requests(now).iter().for_each(|request| at.push((second, *request)));
    }
    assert_eq!(at, [(0, (far(), None)), (2, (far(), None)), (6, (far(), None))]);

    table.learn(Instant(10_000_000), A, &route(1, 50));
    let later = Instant(40_000_000);
    assert_eq!(table.requests(later), [(far(), Some(A))]);
}

// No count to infinity: after the loss, a neighbour's echo of our own announcement is not feasible.
#[test]
fn a_way_that_may_lead_back_here_is_not_used_until_the_destination_speaks_again() {
    let mut table = table();
    table.learn(Instant(0), A, &route(1, 50));
    table.take_news();
    table.drop_link(A);

    table.learn(Instant(0), B, &route(1, 250));
    assert!(!table.reaches(&far()));
    assert_eq!(table.starving(), [(far(), 2)]);

    table.learn(Instant(0), B, &route(2, 250));
    assert!(table.reaches(&far()));
    assert!(table.may_use(&far(), B));
}

// QP-27
#[test]
fn a_lost_link_withdraws_its_ways() {
    let mut table = table();
    table.learn(Instant(0), A, &route(1, 50));
    table.take_news();

    table.drop_link(A);

    assert_eq!(table.take_news()[&B], [Route { node: far(), seqno: 1, cost_us: NO_WAY, hops: 0 }]);
    table.expire(Instant(1));
    assert_eq!(table.destinations().count(), 0);
}

#[test]
fn a_way_that_is_not_refreshed_expires() {
    let mut table = table();
    table.learn(Instant(0), A, &route(1, 50));

    assert!(!table.expire(Instant(0) + LIFETIME / 2));
    assert!(table.expire(Instant(0) + LIFETIME));
    assert!(!table.reaches(&far()));
}
