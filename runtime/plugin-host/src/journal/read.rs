//! Records back to entries.

use mesh_proto::policy::Shares;

use super::column::Reader;
use super::{
    ADMIT, Admitted, By, CARRY, CLAMP, CLASSIFY, Carried, Classified, DIVIDE, Divided, Entry, Event, HANDLE,
    Key, LOST, OBSERVE, Overruled, ROUTE, Routed, SCORE, START, Scored, Seen, Start, TRIED, Told, Tried,
    With, began, handled,
};
use crate::load::Revision;

pub(super) fn read(number: u64, record: &[u8]) -> Option<Entry> {
    let mut reader = Reader(record);
    let now_ms = reader.u64()?;
    let (binding, cost) = (reader.u32()?, reader.u32()?);
    let [kind, by, ..] = reader.array::<8>()?;
    let told = Told { by: who(by), cost_ns: Some(cost).filter(|cost| *cost != u32::MAX) };
    let event = match kind {
        START => Event::Start(read_start(by, &mut reader)?),
        OBSERVE => Event::Observe(read_seen(&mut reader)?),
        ROUTE => Event::Route(read_routed(told, &mut reader)?),
        CLASSIFY => Event::Classify(read_classified(told, &mut reader)?),
        DIVIDE => Event::Divide(read_divided(told, &mut reader)?),
        SCORE => Event::Score(read_scored(told, &mut reader)?),
        ADMIT => Event::Admit(read_admitted(told, &mut reader)?),
        CARRY => Event::Carry(read_carried(told, &mut reader)?),
        HANDLE => Event::Handle(handled::decode(told, &reader.bytes()?)?),
        CLAMP => Event::Clamp(read_overruled(&mut reader)?),
        TRIED => Event::Tried(read_tried(&mut reader)?),
        LOST => Event::Lost { bytes: *reader.longs()?.first()? },
        _ => return None,
    };
    Some(Entry { number, now_ms, binding, event })
}

fn who(by: u8) -> By {
    match by {
        0 => By::Plugin,
        1 => By::Native,
        2 => By::FallbackFault,
        _ => By::FallbackAbsent,
    }
}

fn read_start(with: u8, reader: &mut Reader<'_>) -> Option<Start> {
    let with = match with {
        0 => With::Nothing,
        1 => With::State,
        2 => With::Anchor,
        _ => With::Unknown,
    };
    let (version, state, beside) = (*reader.words()?.first()?, reader.bytes()?, reader.bytes()?);
    let handler = if beside.is_empty() { None } else { Some(began::decode(&beside)?) };
    Some(Start { with, version, state, handler })
}

fn read_seen(reader: &mut Reader<'_>) -> Option<Seen> {
    Some(Seen {
        rtt_us: reader.words()?,
        loss_ppm: reader.words()?,
        queued_bytes: reader.words()?,
        dest: reader.words()?,
        via: reader.words()?,
        cost_us: reader.words()?,
        hops: reader.bytes()?,
    })
}

fn read_routed(told: Told, reader: &mut Reader<'_>) -> Option<Routed> {
    Some(Routed {
        told,
        dest: reader.words()?,
        ingress: reader.words()?,
        size: reader.words()?,
        class: reader.bytes()?,
        answers: reader.words()?,
    })
}

fn read_classified(told: Told, reader: &mut Reader<'_>) -> Option<Classified> {
    Some(Classified {
        told,
        class: reader.bytes()?,
        size: reader.words()?,
        age_ms: reader.words()?,
        tag: reader.words()?,
        answers: reader.bytes()?,
    })
}

fn read_divided(told: Told, reader: &mut Reader<'_>) -> Option<Divided> {
    let mut five = || reader.longs()?.try_into().ok();
    let (sent_bytes, queued_bytes, dropped) = (five()?, five()?, five()?);
    let (guaranteed, burst) = (reader.bytes()?.try_into().ok()?, reader.bytes()?.try_into().ok()?);
    let applied = Shares { guaranteed, burst }.clamped();
    let (applied_guaranteed, applied_burst) = (applied.guaranteed, applied.burst);
    Some(Divided {
        told,
        sent_bytes,
        queued_bytes,
        dropped,
        guaranteed,
        burst,
        applied_guaranteed,
        applied_burst,
    })
}

fn read_scored(told: Told, reader: &mut Reader<'_>) -> Option<Scored> {
    let asker = reader.bytes()?.try_into().ok()?;
    let [a, b, c, d, max_distance_m] = reader.words()?.try_into().ok()?;
    Some(Scored {
        told,
        asker,
        weights: [a, b, c, d],
        max_distance_m,
        node: reader.words()?,
        level: reader.bytes()?,
        same_cell: reader.bytes()?,
        is_parent: reader.bytes()?,
        mobility: reader.bytes()?,
        battery: reader.bytes()?,
        cpu_used: reader.bytes()?,
        memory_used: reader.bytes()?,
        cores: reader.words()?,
        memory_mb: reader.words()?,
        uplink_mbps: reader.words()?,
        distance_m: reader.words()?,
        rtt_us: reader.words()?,
        up_s: reader.words()?,
        children: reader.words()?,
        max_children: reader.words()?,
        answers: reader.words()?,
    })
}

fn read_admitted(told: Told, reader: &mut Reader<'_>) -> Option<Admitted> {
    let [links, least, most, members] = reader.words()?.try_into().ok()?;
    let bytes = reader.bytes()?;
    let (nodes, []) = bytes.as_chunks::<32>() else { return None };
    let counts = reader.words()?;
    let mut lengths = reader.words()?.into_iter();
    let text = reader.bytes()?;
    let mut rest = text.as_slice();
    let mut next = || {
        let (text, behind) = rest.split_at_checked(lengths.next()? as usize)?;
        rest = behind;
        String::from_utf8(text.to_vec()).ok()
    };
    let name = nodes.iter().map(|_| next()).collect::<Option<Vec<_>>>()?;
    let mut labels = Vec::with_capacity(counts.len());
    for count in counts {
        labels.push((0..count).map(|_| Some((next()?, next()?))).collect::<Option<Vec<_>>>()?);
    }
    Some(Admitted {
        told,
        links,
        least,
        most,
        members,
        node: nodes.iter().map(|node| Key::of(*node)).collect(),
        name,
        labels,
        health: reader.bytes()?,
        approach: reader.bytes()?,
        answers: reader.bytes()?.into_iter().map(|answer| answer != 0).collect(),
    })
}

fn read_carried(told: Told, reader: &mut Reader<'_>) -> Option<Carried> {
    Some(Carried {
        told,
        room: reader.longs()?.try_into().ok()?,
        dest: reader.words()?,
        class: reader.bytes()?,
        messages: reader.words()?,
        bytes: reader.words()?,
        age_ms: reader.words()?,
        left_ms: reader.words()?,
        is_own: reader.bytes()?,
        is_durable: reader.bytes()?,
        waiting_messages: reader.words()?,
        waiting_bytes: reader.words()?,
        answers: reader.bytes()?,
    })
}

fn read_overruled(reader: &mut Reader<'_>) -> Option<Overruled> {
    let of = *reader.longs()?.first()?;
    let [row, rows, applied] = reader.words()?.try_into().ok()?;
    Some(Overruled { of, row, rows, applied })
}

fn read_tried(reader: &mut Reader<'_>) -> Option<Tried> {
    let of = *reader.longs()?.first()?;
    let mut text = || String::from_utf8(reader.bytes()?).ok();
    let (name, version) = (text()?, text()?);
    let revision = Revision { name, version, digest: reader.bytes()?.try_into().ok()? };
    Some(Tried {
        of,
        rev: revision.digest_text(),
        plugin: revision.name,
        version: revision.version,
        rows: reader.words()?,
        answers: reader.words()?,
    })
}
