//! What services measured or reported.
//!
//! A page is made in two steps: where its readings stand and what they weigh, then the readings themselves. So a page
//! over many topics never holds more payloads than it tells.

use std::collections::HashMap;

use entity::{journal, sources, topics};
use sea_orm::{
    FromQueryResult, Order,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait, Func, Query, SelectStatement},
};

use super::{
    Store,
    events::Entry,
    paging::{by_time, cut, narrow, ordered, page},
    readings::{MAX_AT_ONCE, MAX_PAGE_BYTES, together, too_much},
    services::topics_where,
    words::kind,
};
use crate::{
    error::Error,
    model::{Cursor, Page, Part, Seq, ServiceReading},
};

/// Values that are bound in one statement: SQLite takes at most 32 766.
const MAX_BOUND: usize = 10_000;

impl Store {
    /// The readings of services at these places, in the order of the journal. Places without one are passed over.
    /// Refuses to read more than fits into an answer: a device chooses how large its readings are.
    pub async fn service_readings_at(&self, seqs: &[Seq]) -> Result<Vec<ServiceReading>, Error> {
        let mut readings = Vec::with_capacity(seqs.len());
        let mut room = MAX_PAGE_BYTES;
        for seqs in seqs.chunks(MAX_BOUND) {
            let mut query = Entry::select();
            query
                .and_where(journal::Column::Seq.is_in(seqs.iter().map(|seq| seq.0)))
                .and_where(journal::Column::Kind.eq(kind::SERVICE_READING))
                .order_by_expr(Expr::col(journal::Column::Seq.as_column_ref()), Order::Asc);
            let (entries, whole) = self.entries(&query, &mut room).await?;
            if !whole {
                return Err(too_much());
            }
            for entry in entries {
                readings.push(entry.service_reading()?);
            }
        }
        readings.sort_by_key(|reading| reading.seq);
        Ok(readings)
    }

    /// The readings of all topics of these services, each `{firmware}/{service}`, or of those with this suffix: newest
    /// first; on from a cursor. A page ends early where readings are large.
    pub async fn service_readings(
        &self,
        services: &[&str],
        suffix: Option<&str>,
        part: Part,
    ) -> Result<Page<ServiceReading>, Error> {
        let mut places = Vec::new();
        for services in services.chunks(MAX_BOUND) {
            places.extend(self.rows::<Place>(&places_of(services, suffix, &part)).await?);
        }
        arrange(&mut places, &part);
        let weighed = places.len().min(usize::try_from(part.limit).unwrap_or(usize::MAX));
        let fitting = fitting(&places[..weighed], &mut { MAX_PAGE_BYTES });
        let make = if fitting == weighed { page } else { cut };
        if fitting < weighed {
            places.truncate(fitting);
        }
        let Page { items, next } = make(places, &part, |place| Seq(place.seq));
        Ok(Page { items: self.readings_in_order(&items).await?, next })
    }

    /// The same part for each of some services: two statements for each hundred. Services without a reading in it are
    /// absent. Refuses to read more than fits into an answer.
    pub async fn service_readings_of_each(
        &self,
        services: &[&str],
        suffix: Option<&str>,
        part: Part,
    ) -> Result<HashMap<String, Page<ServiceReading>>, Error> {
        let mut found = HashMap::<String, Vec<ServiceReading>>::new();
        let mut room = MAX_PAGE_BYTES;
        for services in services.chunks(MAX_AT_ONCE) {
            let query = together(services.iter().map(|service| places_of(&[service], suffix, &part)));
            let places: Vec<Place> = self.rows(&query).await?;
            if fitting(&places, &mut room) < places.len() {
                return Err(too_much());
            }
            for reading in self.readings_in_order(&places).await? {
                found.entry(reading.topic.service().to_owned()).or_default().push(reading);
            }
        }
        let pages =
            found.into_iter().map(|(service, readings)| (service, page(readings, &part, |one| one.seq)));
        Ok(pages.collect())
    }

    /// The readings at these places, in the order of the places.
    async fn readings_in_order(&self, places: &[Place]) -> Result<Vec<ServiceReading>, Error> {
        let seqs: Vec<Seq> = places.iter().map(|place| Seq(place.seq)).collect();
        let readings = self.service_readings_at(&seqs).await?;
        let mut readings: HashMap<Seq, ServiceReading> =
            readings.into_iter().map(|reading| (reading.seq, reading)).collect();
        Ok(seqs.iter().filter_map(|seq| readings.remove(seq)).collect())
    }
}

/// Where a reading stands, in the journal and in time, and what it weighs, in bytes.
#[derive(FromQueryResult)]
struct Place {
    seq: i64,
    at: i64,
    size: i64,
}

/// The places of a part of the readings of some services, in order, and one more.
fn places_of(services: &[&str], suffix: Option<&str>, part: &Part) -> SelectStatement {
    let seq = || Expr::col(journal::Column::Seq.as_column_ref());
    // Of each topic no more than the part can hold, so that no history is read as a whole.
    let mut of_topic = Query::select()
        .expr(seq())
        .from(journal::Entity)
        .and_where(
            Expr::col(journal::Column::Source.as_column_ref())
                .eq(Expr::col(topics::Column::Source.as_column_ref())),
        )
        .and_where(journal::Column::Kind.eq(kind::SERVICE_READING))
        .take();
    narrow(&mut of_topic, part);
    // PostgreSQL counts in an integer.
    let size = Func::cust("length").arg(Expr::col(journal::Column::Body.as_column_ref()));
    let mut query = topics_where(None, None, suffix);
    query
        .expr(seq())
        .expr(Expr::col(journal::Column::At.as_column_ref()))
        .expr_as(size.cast_as("bigint"), "size")
        .inner_join(journal::Entity, seq().in_subquery(of_topic))
        .and_where(sources::Column::Name.is_in(services.iter().copied()));
    ordered(&mut query, part);
    query
}

/// Puts places of several statements in order, each once.
fn arrange(places: &mut Vec<Place>, part: &Part) {
    let place = |place: &Place| (if by_time(part) { place.at } else { 0 }, place.seq);
    match part.cursor {
        Some(Cursor::After(_)) => places.sort_by_key(place),
        Some(Cursor::Before(_)) | None => places.sort_by_key(|one| std::cmp::Reverse(place(one))),
    }
    places.dedup_by_key(|place| place.seq);
}

/// How many of the places there is room for, in bytes: the first of them at least.
fn fitting(places: &[Place], room: &mut usize) -> usize {
    for (count, place) in places.iter().enumerate() {
        let size = usize::try_from(place.size).unwrap_or_default();
        if size > *room && count > 0 {
            return count;
        }
        *room = room.saturating_sub(size);
    }
    places.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Event, Timestamp},
        store::{
            Draft,
            samples::{House, reading, service_reading},
        },
    };

    /// Twenty readings, one after the other on four topics of three services.
    async fn house_of_twenty() -> House {
        let mut house = House::new().await;
        for n in 0..5 {
            let topics = ["rig/a", "rig/a/1", "rig/b/1", "lab/c/1"];
            house.append(&mut topics.map(|topic| service_reading(topic, n.to_string().as_bytes()))).await;
        }
        house
    }

    fn told(page: &Page<ServiceReading>) -> (Vec<i64>, Option<Cursor>) {
        (page.items.iter().map(|reading| reading.seq.0).collect(), page.next)
    }

    #[tokio::test]
    async fn topics_and_services_are_merged_and_the_newest_come_first() {
        let house = house_of_twenty().await;
        let read =
            async |part| told(&house.store.service_readings(&["rig/b", "rig/a"], None, part).await.unwrap());
        let first = read(Part::of(None, 4)).await;
        assert_eq!(first, (vec![19, 18, 17, 15], Some(Cursor::Before(Seq(15)))));
        assert_eq!(read(Part::of(first.1, 4)).await, (vec![14, 13, 11, 10], Some(Cursor::Before(Seq(10)))));
        assert_eq!(read(Part::of(Some(Cursor::Before(Seq(5))), 4)).await, (vec![3, 2, 1], None));
        assert_eq!(read(Part::of(None, 15)).await.1, None);
        assert_eq!(read(Part::of(None, 0)).await, (vec![], None));
    }

    #[tokio::test]
    async fn after_a_place_the_oldest_come_first() {
        let house = house_of_twenty().await;
        let read =
            async |part| told(&house.store.service_readings(&["lab/c", "rig/a"], None, part).await.unwrap());
        let first = read(Part::of(Some(Cursor::After(Seq(9))), 5)).await;
        assert_eq!(first, (vec![10, 12, 13, 14, 16], Some(Cursor::After(Seq(16)))));
        assert_eq!(read(Part::of(first.1, 5)).await, (vec![17, 18, 20], None));
    }

    #[tokio::test]
    async fn a_suffix_leaves_the_topics_that_have_it() {
        let house = house_of_twenty().await;
        let read = async |suffix, services: &[&str]| {
            told(&house.store.service_readings(services, Some(suffix), Part::of(None, 3)).await.unwrap()).0
        };
        assert_eq!(read("", &["rig/a", "rig/b"]).await, [17, 13, 9]);
        assert_eq!(read("/1", &["rig/a", "rig/b"]).await, [19, 18, 15]);
        assert_eq!(read("/2", &["rig/a"]).await, [0; 0]);
        assert_eq!(read("", &[]).await, [0; 0]);
        assert_eq!(read("", &["rig"]).await, [0; 0]);
    }

    /// A reading that came at this moment.
    fn at(topic: &str, moment: i64) -> Draft {
        let mut draft = service_reading(topic, b"1");
        if let Some(Event::ServiceReading(reading)) = &mut draft.event {
            reading.at = Timestamp(moment);
        }
        draft
    }

    #[tokio::test]
    async fn between_two_moments_the_order_is_that_of_time() {
        let mut house = House::new().await;
        // The clock was set back after the second, and twice the same moment.
        let moments = [10, 50, 20, 30, 30, 40];
        let topics = ["rig/a", "rig/b/1", "rig/a/1"].into_iter().cycle();
        let mut drafts: Vec<_> = topics.zip(moments).map(|(topic, moment)| at(topic, moment)).collect();
        house.append(&mut drafts).await;
        let read = async |cursor, limit| {
            let part = Part { cursor, from: Some(Timestamp(20)), to: Some(Timestamp(50)), limit };
            told(&house.store.service_readings(&["rig/a", "rig/b"], None, part).await.unwrap())
        };
        assert_eq!(read(None, 9).await, (vec![6, 5, 4, 3], None));
        let first = read(None, 2).await;
        assert_eq!(first, (vec![6, 5], Some(Cursor::Before(Seq(5)))));
        assert_eq!(read(first.1, 2).await, (vec![4, 3], None));
        let first = read(Some(Cursor::After(Seq(0))), 3).await;
        assert_eq!(first, (vec![3, 4, 5], Some(Cursor::After(Seq(5)))));
        assert_eq!(read(first.1, 3).await, (vec![6], None));
        // The places of these cursors are before and after all of the part.
        assert_eq!(read(Some(Cursor::After(Seq(1))), 9).await, (vec![3, 4, 5, 6], None));
        assert_eq!(read(Some(Cursor::Before(Seq(2))), 9).await, (vec![6, 5, 4, 3], None));
        assert_eq!(read(Some(Cursor::Before(Seq(1))), 9).await, (vec![], None));
        assert_eq!(read(Some(Cursor::After(Seq(2))), 9).await, (vec![], None));
    }

    #[tokio::test]
    async fn however_the_clock_was_set_the_order_between_two_moments_is_that_of_time() {
        const MINUTE: i64 = 60_000_000;
        let mut house = House::new().await;
        let topics = ["rig/a", "rig/b/1", "rig/a/1"].into_iter().cycle();
        // Back and forth over an hour, several times the same moment.
        let moments: Vec<i64> = (0..90).map(|n| n * n % 31 * 2 * MINUTE).collect();
        let mut drafts: Vec<_> = topics.zip(&moments).map(|(topic, moment)| at(topic, *moment)).collect();
        house.append(&mut drafts[..40]).await;
        let mut house = house.restarted().await;
        house.append(&mut drafts[40..]).await;
        let read = async |part| {
            told(&house.store.service_readings(&["rig/a", "rig/b"], None, part).await.unwrap()).0
        };
        for (from, to) in [(0, 70), (9, 10), (10, 10), (10, 33), (20, 40), (39, 62)] {
            let (from, to) = (from * MINUTE, to * MINUTE);
            let mut between: Vec<_> =
                (1..).zip(&moments).filter(|(_, at)| (from..to).contains(*at)).collect();
            between.sort_by_key(|(seq, at)| (**at, *seq));
            let up: Vec<i64> = between.iter().map(|(seq, _)| *seq).collect();
            let down: Vec<i64> = up.iter().rev().copied().collect();
            let part =
                |cursor| Part { cursor, from: Some(Timestamp(from)), to: Some(Timestamp(to)), limit: 90 };
            assert_eq!(read(part(None)).await, down);
            assert_eq!(read(part(Some(Cursor::After(Seq(0))))).await, up);
            for (place, seq) in up.iter().enumerate() {
                assert_eq!(read(part(Some(Cursor::After(Seq(*seq))))).await, up[place + 1..]);
                assert_eq!(read(part(Some(Cursor::Before(Seq(*seq))))).await, down[up.len() - place..]);
            }
        }
    }

    #[tokio::test]
    async fn a_part_of_each_service_is_the_part_of_that_service() {
        let house = house_of_twenty().await;
        let time = Part { from: Some(Timestamp(1)), ..Part::of(Some(Cursor::Before(Seq(12))), 2) };
        for part in [Part::of(None, 2), Part::of(Some(Cursor::After(Seq(3))), 9), time] {
            for (suffix, count) in [(None, 3), (Some("/1"), 3), (Some(""), 1)] {
                let services = ["rig/a", "rig/b", "lab/c", "no/body"];
                let each = house.store.service_readings_of_each(&services, suffix, part).await.unwrap();
                assert_eq!(each.len(), count);
                for (service, page) in each {
                    let alone = house.store.service_readings(&[&service], suffix, part).await.unwrap();
                    assert_eq!(page, alone);
                }
            }
        }
    }

    #[tokio::test]
    async fn a_page_of_large_readings_is_short_and_goes_on() {
        let mut house = House::new().await;
        let large = vec![b' '; 240 * 1024];
        for _ in 0..20 {
            house.append(&mut ["rig/a", "rig/a/1"].map(|topic| service_reading(topic, &large))).await;
        }
        let mut part = Part::of(None, 30);
        let mut pages = Vec::new();
        loop {
            let page = house.store.service_readings(&["rig/a"], None, part).await.unwrap();
            pages.push(page.items.len());
            part.cursor = page.next;
            if part.cursor.is_none() {
                break;
            }
        }
        assert_eq!(pages, [17, 17, 6]);
        let refused = |why: &Error| matches!(why, Error::Invalid(why) if why.contains("4 MiB"));
        let each = house.store.service_readings_of_each(&["rig/a"], None, Part::of(None, 30)).await;
        assert!(refused(&each.unwrap_err()));
        let seqs: Vec<Seq> = (1..=30).map(Seq).collect();
        assert_eq!(house.store.service_readings_at(&seqs[..17]).await.unwrap().len(), 17);
        assert!(refused(&house.store.service_readings_at(&seqs).await.unwrap_err()));
    }

    #[tokio::test]
    async fn a_reading_larger_than_a_page_is_a_page() {
        let mut house = House::new().await;
        let huge = vec![b' '; MAX_PAGE_BYTES + 1];
        house.append(&mut [service_reading("rig/a", b"1"), service_reading("rig/a", &huge)]).await;
        let page = house.store.service_readings(&["rig/a"], None, Part::of(None, 9)).await.unwrap();
        assert_eq!(told(&page), (vec![2], Some(Cursor::Before(Seq(2)))));
    }

    #[tokio::test]
    async fn readings_are_found_at_their_places() {
        let mut house = house_of_twenty().await;
        house.append(&mut [reading("a", 1.0)]).await;
        let places = [21, 7, 3, 99, 8].map(Seq);
        let found = house.store.service_readings_at(&places).await.unwrap();
        assert_eq!(found.iter().map(|reading| reading.seq.0).collect::<Vec<_>>(), [3, 7, 8]);
        assert_eq!((found[1].topic.as_str(), &found[1].payload[..]), ("rig/b/1", &b"1"[..]));
    }

    #[tokio::test]
    async fn more_may_be_asked_for_than_a_statement_takes() {
        let house = house_of_twenty().await;
        let places: Vec<_> = (1..=40_000).rev().map(Seq).collect();
        let found = house.store.service_readings_at(&places).await.unwrap();
        assert!(found.is_sorted_by_key(|reading| reading.seq));
        assert_eq!(found.len(), 20);

        let mut names: Vec<_> = (0..40_000).map(|n| format!("no/{n}")).collect();
        names.extend(["rig/a".into(), "rig/b".into()]);
        names.insert(0, "lab/c".into());
        names.insert(0, "rig/a".into());
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let page = house.store.service_readings(&names, None, Part::of(None, 5)).await.unwrap();
        assert_eq!(told(&page).0, [20, 19, 18, 17, 16]);
        let each = house.store.service_readings_of_each(&names[..150], None, Part::of(None, 5)).await;
        assert_eq!(each.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn no_history_is_read_as_a_whole() {
        let house = House::new().await;
        let moments = |cursor| Part {
            cursor: Some(cursor),
            from: Some(Timestamp(1)),
            to: Some(Timestamp(9)),
            limit: 5,
        };
        let by_seq = "COVERING INDEX journal_source_kind_seq (source=? AND kind=?";
        let by_time = "INDEX journal_source_kind_seq (source=? AND kind=? AND seq>? AND seq<?)";
        for (part, wanted) in [
            (Part::of(None, 5), format!("{by_seq})")),
            (Part::of(Some(Cursor::Before(Seq(9))), 5), format!("{by_seq} AND seq<?)")),
            (Part::of(Some(Cursor::After(Seq(9))), 5), format!("{by_seq} AND seq>?)")),
            (moments(Cursor::Before(Seq(9))), by_time.to_owned()),
            (moments(Cursor::After(Seq(9))), by_time.to_owned()),
        ] {
            let by_moments = super::by_time;
            let plan = house.plan(&places_of(&["rig/a", "rig/b"], None, &part)).await;
            assert!(plan.iter().any(|step| step.contains(&wanted)), "{plan:#?}");
            for index in ["sources_class_name", "topics_service_suffix"] {
                assert!(plan.iter().any(|step| step.contains(index)), "{plan:#?}");
            }
            assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{plan:#?}");
            // That of a page, and none of a topic but of one run at a time.
            assert_eq!(
                plan.iter().filter(|step| step.contains("TEMP B-TREE FOR ORDER BY")).count(),
                1,
                "{plan:#?}"
            );
            let runs = "sqlite_autoindex_runs_1 (source=? AND slot>? AND slot<?)";
            assert_eq!(plan.iter().any(|step| step.contains(runs)), by_moments(&part), "{plan:#?}");
        }
    }
}
