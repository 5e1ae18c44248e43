//! The GraphQL surface: devices, services and their kinds as a graph, commands, rejections, clients, and live streams
//! that resume.
//!
//! Resolvers translate, no more. The schema is written down in `schema.graphql`.

mod commands;
mod conflation;
mod device;
mod frames;
mod http;
mod kind;
mod limits;
mod loader;
mod mutation;
mod paging;
mod problem;
mod query;
mod service;
mod subscription;
mod websocket;

use async_graphql::{Context, SchemaBuilder};

use self::{
    limits::{Limits, MAX_DEPTH, MAX_DIRECTIVES, MAX_NESTING},
    loader::loader,
    mutation::Mutation,
    query::Query,
    subscription::Subscription,
};
use crate::app::App;

type Schema = async_graphql::Schema<Query, Mutation, Subscription>;

/// `/graphql`: operations by POST and GET, subscriptions by WebSocket, a console for browsers.
pub fn router(app: App) -> axum::Router {
    http::router(app)
}

/// The schema in GraphQL's own language.
pub fn sdl() -> String {
    build().finish().sdl()
}

fn schema(app: App) -> Schema {
    build().data(loader(app.store.clone())).data(app).finish()
}

fn build() -> SchemaBuilder<Query, Mutation, Subscription> {
    Schema::build(Query, Mutation, Subscription)
        .limit_recursive_depth(MAX_NESTING)
        .limit_depth(MAX_DEPTH)
        .limit_directives(MAX_DIRECTIVES)
        .extension(Limits)
}

fn app<'a>(context: &Context<'a>) -> &'a App {
    context.data_unchecked()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_written_down() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.graphql");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        if written != sdl() {
            let current = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/schema.graphql");
            std::fs::write(&current, sdl()).unwrap();
            panic!("schema.graphql is not what the code says: {} is", current.display());
        }
    }

    #[tokio::test]
    async fn everything_is_described() {
        const ALL: &str = "{ __schema { types { name description fields { name description args { name description } } \
             inputFields { name description } enumValues { name description } } } }";
        let response = build().finish().execute(ALL).await;
        assert!(response.errors.is_empty(), "{:?}", response.errors);
        let mut silent = Vec::new();
        let data = response.data.into_json().unwrap();
        for named in data["__schema"]["types"].as_array().unwrap() {
            let name = named["name"].as_str().unwrap();
            // GraphQL's own need no words of ours.
            if !name.starts_with("__") && name != "ID" {
                undescribed(named, name, &mut silent);
            }
        }
        assert!(silent.is_empty(), "without a description: {silent:?}");
    }

    fn undescribed(item: &serde_json::Value, path: &str, silent: &mut Vec<String>) {
        if item["description"].as_str().unwrap_or_default().is_empty() {
            silent.push(path.to_owned());
        }
        for list in ["fields", "args", "inputFields", "enumValues"] {
            for inner in item[list].as_array().into_iter().flatten() {
                undescribed(inner, &format!("{path}.{}", inner["name"].as_str().unwrap()), silent);
            }
        }
    }
}
