//! What a device measured.

use entity::{journal, sources};
use sea_orm::{
    entity::prelude::*,
    sea_query::{Expr, ExprTrait, Query},
};

use super::{
    Store,
    events::Entry,
    paging::Paging,
    words::{DEVICE, kind},
};
use crate::{
    error::Error,
    model::{Cursor, Page, Reading},
};

impl Store {
    /// A device's readings, newest first; on from a cursor.
    pub async fn readings(
        &self,
        device: &str,
        from: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<Reading>, Error> {
        let paging = Paging { from, limit };
        let entries = self.entries_of(device, kind::READING, paging).await?;
        let readings = entries.into_iter().map(Entry::reading).collect::<Result<_, _>>()?;
        Ok(paging.page(readings, |reading| reading.seq))
    }

    /// What the journal holds of one kind about one device.
    pub(super) async fn entries_of(
        &self,
        device: &str,
        kind: i16,
        paging: Paging,
    ) -> Result<Vec<Entry>, Error> {
        let source = Query::select()
            .column(sources::Column::Id)
            .from(sources::Entity)
            .and_where(sources::Column::Class.eq(DEVICE))
            .and_where(sources::Column::Name.eq(device))
            .take();
        let mut query = Entry::select();
        query
            .and_where(Expr::col(journal::Column::Source.as_column_ref()).eq(source))
            .and_where(journal::Column::Kind.eq(kind));
        paging.narrow(&mut query);
        self.rows(&query).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Seq;
    use crate::store::samples::{House, presence, reading};

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
        let page = house.store.readings("a", None, 2).await.unwrap();
        assert_eq!((seqs(&page), page.next), (vec![9, 7], Some(Cursor::Before(Seq(7)))));
        let page = house.store.readings("a", page.next, 2).await.unwrap();
        assert_eq!((seqs(&page), page.next), (vec![5, 3], Some(Cursor::Before(Seq(3)))));
        let page = house.store.readings("a", page.next, 2).await.unwrap();
        assert_eq!((seqs(&page), page.next), (vec![1], None));
    }

    #[tokio::test]
    async fn after_a_place_the_oldest_come_first() {
        let house = house_of_ten().await;
        let page = house.store.readings("b", Some(Cursor::After(Seq(2))), 2).await.unwrap();
        assert_eq!((seqs(&page), page.next), (vec![4, 6], Some(Cursor::After(Seq(6)))));
        let page = house.store.readings("b", page.next, 2).await.unwrap();
        assert_eq!((seqs(&page), page.next), (vec![8, 10], None));
    }

    #[tokio::test]
    async fn a_full_last_page_has_no_next() {
        let house = house_of_ten().await;
        assert_eq!(house.store.readings("a", None, 5).await.unwrap().next, None);
        assert_eq!(house.store.readings("a", None, 0).await.unwrap().items, []);
        assert_eq!(house.store.readings("nobody", None, 5).await.unwrap().items, []);
    }

    #[tokio::test]
    async fn presence_changes_are_apart_from_readings() {
        let mut house = house_of_ten().await;
        let mut drafts = [presence("a")];
        house.append(&mut drafts).await;
        let page = house.store.presence("a", None, 5).await.unwrap();
        assert_eq!(page.items.into_iter().map(crate::model::Event::Presence).next(), drafts[0].event);
    }
}
