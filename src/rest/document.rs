//! The OpenAPI document, beside what its operations say of themselves.

use async_graphql::{
    OutputType,
    registry::{MetaType, Registry},
};
use utoipa::{
    OpenApi as _, ToSchema,
    openapi::{
        Components, HeaderBuilder, OpenApi, Ref, RefOr, Required,
        example::ExampleBuilder,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn},
        request_body::RequestBody,
        schema::{Object, ObjectBuilder, Schema, Type},
    },
};

use super::{
    answers,
    kinds::{EffectClass, Rule},
    problem::Problem,
    service_commands::CommandPayload,
};
use crate::{
    catalog::{self, Class, KINDS},
    crosslink::Hazard,
    devices::Mode,
    model::{
        Action, CommandState, Delivery, PresenceReason, ProtocolVersion, RejectionReason, ReplayOutcome,
        ServiceState, Status, Surface,
    },
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Crosslink",
        description = "Watch and steer microcontrollers.\n\n\
            Times are RFC 3339 in UTC. A `seq` is a place in the journal: it only grows, and counts everything \
            that happens. Lists are pages of `items`, and `next` is the `after` of the following page.\n\n\
            Errors are `application/problem+json` with a stable `code`. A path that does not exist is 404; a method \
            that a path does not know is 405, with the others in `Allow`. A parameter that is not described is an \
            error too. HEAD works wherever GET does.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "clients", description = "Who is connected to the broker"),
        (name = "commands", description = "Commands and what became of them"),
        (name = "devices", description = "Who is there, what they measure and what they do to each other"),
        (name = "health", description = "Whether the gateway is alive, can serve, and how it fares"),
        (name = "original", description = "The routes that scripts have used from the beginning"),
        (name = "rejections", description = "Messages that could not be understood, and their replay"),
        (name = "services", description = "What firmwares are made of, which kind each is, and what it says"),
    ),
    servers((url = "/", description = "The gateway that this document comes from")),
    security(()),
    components(schemas(Problem)),
)]
struct Document;

const IF_NONE_MATCH: &str = "IfNoneMatch";
const ETAG: &str = "ETag";
const JSON: &str = "application/json";
/// Stands at the end of a path that has one.
const SUFFIX: &str = "/{suffix}";

/// Schemas of what is sent here: what is not given is absent there, not null.
const SENT_HERE: [&str; 4] = ["Command", "Execution", "Pin", "ReplayRequest"];

/// Before it has operations.
pub fn begun() -> OpenApi {
    let mut document = Document::openapi();
    let components = document.components.get_or_insert_default();
    components.responses = answers::components();
    components.parameters.insert(IF_NONE_MATCH.to_owned(), RefOr::T(if_none_match()));
    let tag = ObjectBuilder::new().schema_type(Type::String).build();
    let tag = HeaderBuilder::new()
        .schema(Some(tag))
        .description(Some("Stands for this body, and for no other"))
        .example(Some("\"9d2f6a7b1c3e5804\"".into()))
        .build();
    components.headers.insert(ETAG.to_owned(), RefOr::T(tag));
    document
}

fn if_none_match() -> Parameter {
    ParameterBuilder::new()
        .name("If-None-Match")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "The `ETag` of an earlier answer: if it still holds, the answer is 304 without a body",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .example(Some("\"9d2f6a7b1c3e5804\"".into()))
        .build()
}

/// With what the derivations cannot say.
pub fn finished(mut document: OpenApi) -> OpenApi {
    // A parameter that takes several levels is written as any other.
    let paths = std::mem::take(&mut document.paths.paths).into_iter();
    document.paths.paths = paths.map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    for (path, item) in &mut document.paths.paths {
        if let Some(get) = &mut item.get {
            tagged(get);
        }
        if let Some(RefOr::T(body)) = item.post.as_mut().and_then(|post| post.request_body.as_mut()) {
            exemplified(path, body);
        }
    }
    if let Some(components) = &mut document.components {
        described(components);
        complete(components);
        // What services say and are told is as the catalog has it.
        components.schemas.extend(catalog::schemas());
        components.schemas.values_mut().for_each(simplify);
    }
    document
}

/// Whatever may answer 304 has a tag, and asks for one.
fn tagged(operation: &mut Operation) {
    if !operation.responses.responses.contains_key("304") {
        return;
    }
    let asked = Ref::new(format!("#/components/parameters/{IF_NONE_MATCH}"));
    operation.parameters.get_or_insert_default().push(RefOr::Ref(asked));
    if let Some(RefOr::T(answer)) = operation.responses.responses.get_mut("200") {
        let tag = Ref::new(format!("#/components/headers/{ETAG}"));
        answer.headers.insert(ETAG.to_owned(), RefOr::Ref(tag));
    }
}

/// What services are told is shown for each kind that is told something there.
fn exemplified(path: &str, body: &mut RequestBody) {
    let payload = RefOr::Ref(Ref::from_schema_name(CommandPayload::name()));
    let Some(RefOr::T(content)) = body.content.get_mut(JSON) else { return };
    if content.schema.as_ref() != Some(&payload) {
        return;
    }
    let commands = KINDS.iter().flat_map(|kind| kind.commands().map(move |topic| (kind, topic)));
    for (kind, topic) in commands.filter(|(_, topic)| topic.suffix.is_empty() != path.ends_with(SUFFIX)) {
        let payloads = topic.examples.iter().filter_map(|example| serde_json::from_str(example).ok());
        for payload in payloads {
            let summary = format!("{}, {}", kind.name, topic.suffix.trim_start_matches('/'));
            let example =
                ExampleBuilder::new().summary(summary.trim_end_matches(", ")).value(Some(payload)).build();
            content
                .examples
                .insert(format!("{}{}", kind.name, topic.suffix.replace('/', "_")), example.into());
        }
    }
}

/// Members of enumerations say what they mean, and the code of a problem which there are.
fn described(components: &mut Components) {
    members::<Action>(components);
    members::<Class>(components);
    members::<CommandState>(components);
    members::<Delivery>(components);
    members::<EffectClass>(components);
    members::<Hazard>(components);
    members::<Mode>(components);
    members::<PresenceReason>(components);
    members::<ProtocolVersion>(components);
    members::<RejectionReason>(components);
    members::<ReplayOutcome>(components);
    members::<Rule>(components);
    members::<ServiceState>(components);
    members::<Status>(components);
    members::<Surface>(components);
    let code = object(components, "Problem").and_then(|problem| problem.properties.get_mut("code"));
    if let Some(RefOr::T(Schema::Object(code))) = code {
        add(code, &answers::codes());
    }
}

/// The members of an enumeration, in the words in which GraphQL tells them: those that stand in the code.
fn members<T: ToSchema + OutputType>(components: &mut Components) {
    let mut registry = Registry::default();
    let name = T::create_type_info(&mut registry).trim_end_matches('!').to_owned();
    let (Some(MetaType::Enum { enum_values, .. }), Some(schema)) =
        (registry.types.get(&name), object(components, &T::name()))
    else {
        return;
    };
    let words = schema.enum_values.iter().flatten().filter_map(|word| word.as_str());
    let lines = words.zip(enum_values.values()).map(|(word, member)| {
        format!("* `{word}`: {}", member.description.as_deref().unwrap_or_default().replace('\n', " "))
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    add(schema, &lines);
}

fn add(schema: &mut Object, lines: &str) {
    let description = schema.description.take().unwrap_or_default();
    schema.description = Some(format!("{description}\n\n{lines}"));
}

/// What the gateway sends has all its fields; what there is not is null.
fn complete(components: &mut Components) {
    for (name, schema) in &mut components.schemas {
        if SENT_HERE.contains(&name.as_str()) || name == "Problem" {
            continue;
        }
        if let RefOr::T(schema) = schema {
            require_all(schema);
        }
    }
}

/// One of one is that one.
fn simplify(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::OneOf(choice)) = schema else { return };
    if choice.items.len() > 1 {
        return;
    }
    let description = choice.description.take();
    let Some(mut only) = choice.items.pop() else { return };
    if let RefOr::T(Schema::Object(only)) = &mut only {
        only.description = description;
    }
    *schema = only;
}

fn require_all(schema: &mut Schema) {
    match schema {
        Schema::Object(object) => object.required = object.properties.keys().cloned().collect(),
        Schema::AllOf(all) => {
            for part in &mut all.items {
                if let RefOr::T(part) = part {
                    require_all(part);
                }
            }
        }
        _ => {}
    }
}

fn object<'a>(components: &'a mut Components, name: &str) -> Option<&'a mut Object> {
    match components.schemas.get_mut(name) {
        Some(RefOr::T(Schema::Object(object))) => Some(object),
        _ => None,
    }
}
