//! Many rows in one statement.

use sea_orm::{
    DatabaseTransaction, DbErr, IntoActiveModel,
    entity::prelude::*,
    sea_query::{Asterisk, DeleteStatement, Expr, ExprTrait, IntoValueTuple, OnConflict, Query},
};

/// The widest table has 13 columns, and SQLite binds at most 32 766 values. Larger statements are no faster.
pub(super) const ROWS_PER_STATEMENT: usize = 500;

pub(super) async fn insert<Row>(
    transaction: &DatabaseTransaction,
    rows: impl IntoIterator<Item = Row>,
    conflict: Option<OnConflict>,
) -> Result<(), DbErr>
where
    Row: ModelTrait + IntoActiveModel<<Row::Entity as EntityTrait>::ActiveModel>,
{
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let mut statement = Row::Entity::insert_many(
            rows.by_ref().take(ROWS_PER_STATEMENT).map(IntoActiveModel::into_active_model),
        );
        if let Some(conflict) = &conflict {
            statement = statement.on_conflict(conflict.clone());
        }
        statement.exec_without_returning(transaction).await?;
    }
    Ok(())
}

/// Deletes the rows that have one of the keys in these columns.
pub(super) async fn delete<Table: EntityTrait, const COLUMNS: usize>(
    transaction: &DatabaseTransaction,
    table: Table,
    columns: [Table::Column; COLUMNS],
    keys: impl IntoIterator<Item = impl IntoValueTuple>,
) -> Result<(), DbErr> {
    let mut keys = keys.into_iter().peekable();
    while keys.peek().is_some() {
        let some = keys.by_ref().take(ROWS_PER_STATEMENT);
        transaction.execute(&deletion(table, columns, some)).await?;
    }
    Ok(())
}

fn deletion<Table: EntityTrait, const COLUMNS: usize>(
    table: Table,
    columns: [Table::Column; COLUMNS],
    keys: impl IntoIterator<Item = impl IntoValueTuple>,
) -> DeleteStatement {
    let keys = Query::select().column(Asterisk).from_values(keys, "keys").take();
    Query::delete().from_table(table).and_where(Expr::tuple(columns.map(Expr::col)).in_subquery(keys)).take()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples::House;
    use entity::{kept_messages, kept_received, kept_sessions, kept_subscriptions, retained};

    #[tokio::test]
    async fn what_is_deleted_is_found_by_its_key() {
        let house = House::new().await;
        let (session, text) = ([1, 2], |name: &str| name.to_owned());
        for statement in [
            deletion(kept_sessions::Entity, [kept_sessions::Column::Id], session),
            deletion(kept_subscriptions::Entity, [kept_subscriptions::Column::Session], session),
            deletion(kept_messages::Entity, [kept_messages::Column::Session], session),
            deletion(kept_received::Entity, [kept_received::Column::Session], session),
            deletion(retained::Entity, [retained::Column::Topic], [text("a"), text("b")]),
        ] {
            let plan = house.plan(&statement).await;
            assert!(plan[0].starts_with("SEARCH"), "{plan:?}");
        }
        let subscriptions = [kept_subscriptions::Column::Session, kept_subscriptions::Column::Filter];
        let messages = [kept_messages::Column::Session, kept_messages::Column::Number];
        let received = [kept_received::Column::Session, kept_received::Column::PacketId];
        for (statement, key) in [
            (deletion(kept_subscriptions::Entity, subscriptions, [(1, text("a"))]), "session=? AND filter=?"),
            (deletion(kept_messages::Entity, messages, [(1, 1), (2, 7)]), "session=? AND number=?"),
            (deletion(kept_received::Entity, received, [(1, 1)]), "session=? AND packet_id=?"),
        ] {
            let plan = house.plan(&statement).await;
            assert!(plan[0].contains(key), "{plan:?}");
        }
    }
}
