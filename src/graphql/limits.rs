//! What one operation may ask for.
//!
//! Fragments multiply, so that a short document can be an endless one; aliases and `__typename` are counted by
//! no rule of async-graphql. Its size is therefore measured before anything else is done with it.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_graphql::{
    Context, Pos, Positioned, Request, Response, ServerError, ServerResult, ValidationResult,
    async_trait::async_trait,
    extensions::{
        Extension, ExtensionContext, ExtensionFactory, NextPrepareRequest, NextRequest, NextSubscribe,
        NextValidation,
    },
    parser::types::{ExecutableDocument, OperationType, Selection, SelectionSet},
};
use futures_util::{StreamExt, stream::BoxStream};

use super::problem::{Problem, coded};

/// Fields within fields: tools that read the schema ask for 15.
pub const MAX_DEPTH: usize = 20;
/// Selections within selections, fragments included.
pub const MAX_NESTING: usize = 32;
/// Fields, each as often as it may be in the answer: some megabytes.
const MAX_COMPLEXITY: usize = 50_000;
/// Directives on one field; there are two to choose from.
pub const MAX_DIRECTIVES: usize = 4;
/// Selections, with every fragment spread out. The whole schema is read with some 300.
const MAX_SELECTIONS: usize = 2_000;
/// Fields that read the database or list what may be many. Each is a statement, or one for each hundred devices or services.
const MAX_LISTS: usize = 64;
/// Entries that all of these may ask for, those of each device and service counted: some megabytes.
const MAX_ENTRIES: usize = 20_000;

/// How many devices an operation that asks for all of them is taken to ask for.
pub const DEVICES: usize = 10;
/// How many services an operation that asks for all of them is taken to ask for.
pub const SERVICES: usize = 10;
/// How many topics a service or a kind is taken to have.
pub const TOPICS: usize = 4;
/// What a command counts: fifty of them are the most that one operation may send.
pub const COMMAND: usize = 1_000;

/// Refuses what is too much, and gives each error its code.
pub struct Limits;

impl ExtensionFactory for Limits {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Limits)
    }
}

#[async_trait]
impl Extension for Limits {
    async fn request(&self, context: &ExtensionContext<'_>, next: NextRequest<'_>) -> Response {
        coded(next.run(context).await)
    }

    fn subscribe<'s>(
        &self,
        context: &ExtensionContext<'_>,
        stream: BoxStream<'s, Response>,
        next: NextSubscribe<'_>,
    ) -> BoxStream<'s, Response> {
        next.run(context, stream.map(coded).boxed())
    }

    async fn prepare_request(
        &self,
        context: &ExtensionContext<'_>,
        mut request: Request,
        next: NextPrepareRequest<'_>,
    ) -> ServerResult<Request> {
        measure(request.parsed_query()?)?;
        next.run(context, request.data(Asked::default())).await
    }

    async fn validation(
        &self,
        context: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        let result = next.run(context).await?;
        if result.complexity > MAX_COMPLEXITY {
            let why = format!(
                "one operation asks for at most {MAX_COMPLEXITY} fields, each as often as it may be in the answer: \
                 this one for {}",
                result.complexity
            );
            return Err(vec![ServerError::new(why, None)]);
        }
        Ok(result)
    }
}

/// What an operation has asked for.
#[derive(Default)]
struct Asked {
    entries: AtomicUsize,
    /// Where in the document. A list of each device is one field there.
    lists: Mutex<HashSet<Pos>>,
}

/// Counts a list that is about to be read, with as many entries at most, and refuses it when it is too much.
pub fn count(context: &Context<'_>, entries: usize) -> Result<(), Problem> {
    let asked = context.data_unchecked::<Asked>();
    let lists = {
        let mut lists = asked.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.insert(context.item.pos);
        lists.len()
    };
    if lists > MAX_LISTS {
        return Err(Problem::invalid(format!("one operation asks for at most {MAX_LISTS} lists")));
    }
    let before = asked.entries.fetch_add(entries, Ordering::Relaxed);
    if before.saturating_add(entries) > MAX_ENTRIES {
        return Err(Problem::invalid(format!(
            "one operation asks for at most {MAX_ENTRIES} entries, those of each device and service counted: ask for fewer"
        )));
    }
    Ok(())
}

fn measure(document: &ExecutableDocument) -> ServerResult<()> {
    let mut measure = Measure { document, left: MAX_SELECTIONS };
    for (_, operation) in document.operations.iter() {
        let set = &operation.node.selection_set.node;
        measure.spend(set, 0)?;
        // GraphQL wants it so, and a stream for each of two thousand fields would be no one operation.
        if operation.node.ty == OperationType::Subscription && measure.roots(set).len() > 1 {
            let why = "a subscription asks for one field, and others are subscriptions of their own";
            return Err(ServerError::new(why, Some(operation.pos)));
        }
    }
    // Fragments that no operation uses are validated too.
    for fragment in document.fragments.values() {
        measure.spend(&fragment.node.selection_set.node, 0)?;
    }
    Ok(())
}

struct Measure<'a> {
    document: &'a ExecutableDocument,
    left: usize,
}

impl<'a> Measure<'a> {
    fn spend(&mut self, set: &'a SelectionSet, depth: usize) -> ServerResult<()> {
        if depth > MAX_NESTING {
            return Err(ServerError::new(format!("nested deeper than {MAX_NESTING} selections"), None));
        }
        for selection in &set.items {
            self.left = self.left.checked_sub(1).ok_or_else(|| {
                ServerError::new(format!("more than {MAX_SELECTIONS} selections"), Some(selection.pos))
            })?;
            match &selection.node {
                Selection::Field(field) => self.spend(&field.node.selection_set.node, depth + 1)?,
                Selection::InlineFragment(fragment) => {
                    self.spend(&fragment.node.selection_set.node, depth + 1)?;
                }
                Selection::FragmentSpread(spread) => {
                    // One that does not exist is named by the validation.
                    if let Some(fragment) = self.document.fragments.get(&spread.node.fragment_name.node) {
                        self.spend(&fragment.node.selection_set.node, depth + 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The fields of a set that was measured, by their names in the answer.
    fn roots(&self, set: &'a SelectionSet) -> HashSet<&'a str> {
        let within = |selection: &'a Positioned<Selection>| match &selection.node {
            Selection::Field(field) => HashSet::from([field.node.response_key().node.as_str()]),
            Selection::InlineFragment(fragment) => self.roots(&fragment.node.selection_set.node),
            Selection::FragmentSpread(spread) => {
                let fragment = self.document.fragments.get(&spread.node.fragment_name.node);
                fragment.map(|fragment| self.roots(&fragment.node.selection_set.node)).unwrap_or_default()
            }
        };
        set.items.iter().flat_map(within).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::parser::parse_query;

    fn refusal(document: &str) -> Option<String> {
        measure(&parse_query(document).unwrap()).err().map(|why| why.message)
    }

    #[test]
    fn fragments_that_multiply_are_refused_at_once() {
        let mut bomb = String::from("{ ...f0 }");
        for n in 0..30 {
            bomb += &format!(" fragment f{n} on Query {{ ...f{} ...f{} }}", n + 1, n + 1);
        }
        bomb += " fragment f30 on Query { __typename }";
        assert_eq!(refusal(&bomb).as_deref(), Some("more than 2000 selections"));
    }

    #[test]
    fn fragments_in_a_circle_are_refused() {
        let circle = "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }";
        assert_eq!(refusal(circle).as_deref(), Some("nested deeper than 32 selections"));
    }

    #[test]
    fn a_subscription_is_one_stream() {
        let says = Some("a subscription asks for one field, and others are subscriptions of their own");
        for two in [
            "subscription { a: sensors { seq } b: sensors { seq } }",
            "subscription { presence { seq } ... { sensors { seq } } }",
            "subscription { ...two } fragment two on Subscription { presence { seq } sensors { seq } }",
        ] {
            assert_eq!(refusal(two).as_deref(), says, "{two}");
        }
        let one = "subscription { ...a ...b } fragment a on Subscription { sensors { seq } } \
            fragment b on Subscription { sensors { device } }";
        assert_eq!(refusal(one), None);
        assert_eq!(refusal("subscription A { sensors { seq } } subscription B { presence { seq } }"), None);
        assert_eq!(refusal("{ a: devices { name } b: devices { name } }"), None);
    }

    #[test]
    fn aliases_are_counted() {
        let many: String = (0..2_001).map(|n| format!("a{n}: __typename ")).collect();
        assert!(refusal(&format!("{{ {many} }}")).is_some());
        assert_eq!(refusal("{ devices { name } }"), None);
    }
}
