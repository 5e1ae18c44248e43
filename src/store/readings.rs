//! What a device measured.

use std::collections::HashMap;

use entity::{journal, sources};
use sea_orm::{
    entity::prelude::*,
    sea_query::{Asterisk, Expr, ExprTrait, Query, SelectStatement, UnionType},
};

use super::{
    Store,
    events::Entry,
    paging::{cut, narrow, page},
    words::{class, kind},
};
use crate::{
    error::Error,
    model::{Page, Part, Reading},
};

/// Parts that are read in one statement: SQLite joins at most 500 into one.
pub(super) const MAX_AT_ONCE: usize = 100;

/// What the entries of a page, or of the pages of many devices, may weigh, in bytes: some thirty times what a thousand
/// readings weigh as devices say them.
pub(super) const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

impl Store {
    /// A device's readings, newest first; on from a cursor. A page ends early where readings are large.
    pub async fn readings(&self, device: &str, part: Part) -> Result<Page<Reading>, Error> {
        let (entries, whole) = self.entries_of(device, kind::READING, &part).await?;
        readings(entries, whole, &part)
    }

    /// The same part of the readings of each of some devices: a statement for each hundred.
    pub async fn readings_of_each(
        &self,
        devices: &[&str],
        part: Part,
    ) -> Result<HashMap<String, Page<Reading>>, Error> {
        let found = self.entries_of_each(devices, kind::READING, &part).await?;
        found.into_iter().map(|(device, entries)| Ok((device, readings(entries, true, &part)?))).collect()
    }

    /// What the journal holds of one kind about one device, and whether this is all of the part.
    pub(super) async fn entries_of(
        &self,
        device: &str,
        kind: i16,
        part: &Part,
    ) -> Result<(Vec<Entry>, bool), Error> {
        self.entries(&about(device, kind, part), &mut { MAX_PAGE_BYTES }).await
    }

    /// What the journal holds of one kind about each of some devices. Those of which it holds nothing are absent.
    /// Refuses to read more than fits into an answer.
    pub(super) async fn entries_of_each(
        &self,
        devices: &[&str],
        kind: i16,
        part: &Part,
    ) -> Result<HashMap<String, Vec<Entry>>, Error> {
        let mut found = HashMap::<String, Vec<Entry>>::new();
        let mut room = MAX_PAGE_BYTES;
        for devices in devices.chunks(MAX_AT_ONCE) {
            let query = together(devices.iter().map(|device| about(device, kind, part)));
            let (entries, whole) = self.entries(&query, &mut room).await?;
            if !whole {
                return Err(too_much());
            }
            for entry in entries {
                found.entry(entry.source.clone().unwrap_or_default()).or_default().push(entry);
            }
        }
        Ok(found)
    }
}

/// More was asked for than fits into an answer.
pub(super) fn too_much() -> Error {
    let most = MAX_PAGE_BYTES >> 20;
    Error::Invalid(format!("these are more than {most} MiB: ask for fewer"))
}

fn readings(entries: Vec<Entry>, whole: bool, part: &Part) -> Result<Page<Reading>, Error> {
    let readings = entries.into_iter().map(Entry::reading).collect::<Result<_, _>>()?;
    let make = if whole { page } else { cut };
    Ok(make(readings, part, |reading| reading.seq))
}

/// Some questions as one statement, the answers one after the other.
pub(super) fn together(questions: impl Iterator<Item = SelectStatement>) -> SelectStatement {
    // A question that is ordered and bounded may only be joined to others from within.
    let mut parts = questions.map(|part| Query::select().column(Asterisk).from_subquery(part, "part").take());
    let mut query = parts.next().unwrap_or_default();
    query.unions(parts.map(|part| (UnionType::All, part)));
    query
}

/// A part of what the journal holds of one kind about one device.
fn about(device: &str, kind: i16, part: &Part) -> SelectStatement {
    let source = Query::select()
        .column(sources::Column::Id)
        .from(sources::Entity)
        .and_where(sources::Column::Class.eq(class::DEVICE))
        .and_where(sources::Column::Name.eq(device))
        .take();
    let mut query = Entry::select();
    query
        .and_where(Expr::col(journal::Column::Source.as_column_ref()).eq(source))
        .and_where(journal::Column::Kind.eq(kind));
    narrow(&mut query, part);
    query
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cursor, Event, Seq, Timestamp};
    use crate::store::{
        Draft,
        samples::{House, large, presence, reading},
    };

    async fn house_of_ten() -> House {
        let mut house = House::new().await;
        for n in 0..5 {
            house.append(&mut [reading("a", n.into()), reading("b", n.into())]).await;
        }
        house
    }

    fn seqs(page: &Page<Reading>) -> Vec<i64> {
        page.items.iter().map(|reading| reading.seq.0).collect()
    }

    #[tokio::test]
    async fn the_newest_come_first() {
        let house = house_of_ten().await;
        let page = house.store.readings("a", Part::of(None, 2)).await.unwrap();
        assert_eq!((seqs(&page), page.next), (vec![9, 7], Some(Cursor::Before(Seq(7)))));
        let page = house.store.readings("a", Part::of(page.next, 2)).await.unwrap();
        assert_eq!((seqs(&page), page.next), (vec![5, 3], Some(Cursor::Before(Seq(3)))));
        let page = house.store.readings("a", Part::of(page.next, 2)).await.unwrap();
        assert_eq!((seqs(&page), page.next), (vec![1], None));
    }

    #[tokio::test]
    async fn after_a_place_the_oldest_come_first() {
        let house = house_of_ten().await;
        let page = house.store.readings("b", Part::of(Some(Cursor::After(Seq(2))), 2)).await.unwrap();
        assert_eq!((seqs(&page), page.next), (vec![4, 6], Some(Cursor::After(Seq(6)))));
        let page = house.store.readings("b", Part::of(page.next, 2)).await.unwrap();
        assert_eq!((seqs(&page), page.next), (vec![8, 10], None));
    }

    #[tokio::test]
    async fn a_full_last_page_has_no_next() {
        let house = house_of_ten().await;
        assert_eq!(house.store.readings("a", Part::of(None, 5)).await.unwrap().next, None);
        assert_eq!(house.store.readings("a", Part::of(None, 0)).await.unwrap().items, []);
        assert_eq!(house.store.readings("nobody", Part::of(None, 5)).await.unwrap().items, []);
    }

    #[tokio::test]
    async fn presence_changes_are_apart_from_readings() {
        let mut house = house_of_ten().await;
        let mut drafts = [presence("a")];
        house.append(&mut drafts).await;
        let page = house.store.presence("a", Part::of(None, 5)).await.unwrap();
        assert_eq!(page.items.into_iter().map(Event::Presence).next(), drafts[0].event);
    }

    /// A reading that came at this moment.
    fn at(moment: i64) -> Draft {
        let mut draft = reading("a", 20.0);
        if let Some(Event::Reading(reading)) = &mut draft.event {
            reading.at = Timestamp(moment);
        }
        draft
    }

    #[tokio::test]
    async fn between_two_moments_the_order_is_that_of_time() {
        let mut house = House::new().await;
        // The clock was set back after the second, and twice the same moment.
        house.append(&mut [at(10), at(50), at(20), at(30), at(30), at(40)]).await;
        let between =
            |cursor, limit| Part { cursor, from: Some(Timestamp(20)), to: Some(Timestamp(50)), limit };
        let all = |page: &Page<Reading>| (seqs(page), page.next);
        let read = async |cursor, limit| house.store.readings("a", between(cursor, limit)).await.unwrap();

        assert_eq!(all(&read(None, 9).await), (vec![6, 5, 4, 3], None));
        let first = read(None, 2).await;
        assert_eq!(all(&first), (vec![6, 5], Some(Cursor::Before(Seq(5)))));
        assert_eq!(all(&read(first.next, 2).await), (vec![4, 3], None));
        let first = read(Some(Cursor::After(Seq(0))), 3).await;
        assert_eq!(all(&first), (vec![3, 4, 5], Some(Cursor::After(Seq(5)))));
        assert_eq!(all(&read(first.next, 3).await), (vec![6], None));
        assert_eq!(all(&read(Some(Cursor::After(Seq(99))), 3).await), (vec![], None));
        let since = Part { from: Some(Timestamp(40)), ..Part::of(None, 9) };
        assert_eq!(seqs(&house.store.readings("a", since).await.unwrap()), [2, 6]);
    }

    #[tokio::test]
    async fn a_part_of_each_device_is_the_part_of_that_device() {
        let house = house_of_ten().await;
        for part in [Part::of(None, 2), Part::of(Some(Cursor::After(Seq(3))), 9)] {
            let each = house.store.readings_of_each(&["a", "b", "nobody"], part).await.unwrap();
            assert_eq!(each.len(), 2);
            for device in ["a", "b"] {
                assert_eq!(each[device], house.store.readings(device, part).await.unwrap());
            }
        }
    }

    #[tokio::test]
    async fn a_page_of_large_readings_is_short_and_goes_on() {
        let mut house = House::new().await;
        for _ in 0..40 {
            house.append(&mut [large("a"), large("b")]).await;
        }
        let mut part = Part::of(None, 30);
        let mut pages = Vec::new();
        loop {
            let page = house.store.readings("a", part).await.unwrap();
            pages.push(page.items.len());
            part.cursor = page.next;
            if part.cursor.is_none() {
                break;
            }
        }
        assert_eq!(pages, [17, 17, 6]);
        let refused = house.store.readings_of_each(&["a", "b"], Part::of(None, 40)).await;
        assert!(matches!(refused, Err(Error::Invalid(why)) if why.contains("4 MiB")));
        assert_eq!(house.store.readings_of_each(&["a", "b"], Part::of(None, 7)).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn moments_are_found_by_runs() {
        let house = House::new().await;
        let moments = |cursor| Part {
            cursor: Some(cursor),
            from: Some(Timestamp(1)),
            to: Some(Timestamp(9)),
            limit: 5,
        };
        let runs = "sqlite_autoindex_runs_1 (source=? AND slot>? AND slot<?)";
        for part in [Part::of(None, 5), moments(Cursor::Before(Seq(9))), moments(Cursor::After(Seq(9)))] {
            let plan = house.plan(&about("a", kind::READING, &part)).await;
            let has = |what: &str| plan.iter().any(|step| step.contains(what));
            assert!(has("journal_source_kind_seq (source=? AND kind=?"), "{plan:?}");
            assert_eq!(has(runs), part.from.is_some(), "{plan:?}");
            assert!(!has("TEMP B-TREE FOR ORDER BY") && !has("SCAN j"), "{plan:?}");
        }
    }
}
