//! Channels, what is said on them and what is done there, as the document spells them.

use serde_json::{Map, Value, json};

use crate::model::QoS;

/// Of the bindings, wherever there are any.
pub(super) const BINDING_VERSION: &str = "0.2.0";
pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain";

/// The topics of one form, and what is said on them.
pub(super) struct Channel {
    pub id: String,
    /// With a `{name}` for each parameter.
    pub address: String,
    pub title: String,
    pub description: String,
    pub tag: &'static str,
    /// By name.
    pub parameters: Map<String, Value>,
    pub qos: QoS,
    pub retain: bool,
    pub message: Message,
    pub operations: Vec<Operation>,
}

pub(super) struct Message {
    /// Unique on its channel.
    pub name: String,
    pub title: String,
    pub summary: String,
    pub description: Option<String>,
    pub content_type: &'static str,
    /// The name of its schema among the components.
    pub schema: String,
    pub examples: Vec<Example>,
}

pub(super) struct Example {
    pub name: String,
    /// What it shows.
    pub summary: Option<&'static str>,
    pub payload: Value,
}

/// What a device or a service does on a channel.
pub(super) struct Operation {
    pub id: String,
    pub action: Action,
    pub summary: String,
    pub description: String,
    /// Where it answers, if what it has received has an answer.
    pub reply: Option<Reply>,
}

#[derive(Clone, Copy)]
pub(super) enum Action {
    Send,
    Receive,
}

/// A message on another channel.
pub(super) struct Reply {
    pub channel: String,
    pub message: String,
}

impl Channel {
    pub fn json(&self) -> Value {
        json!({
            "address": self.address,
            "title": self.title,
            "description": self.description,
            "parameters": self.parameters,
            "messages": { self.message.name.as_str(): self.message.json() },
            "tags": self.tags(),
        })
    }

    pub fn operations(&self) -> impl Iterator<Item = (String, Value)> {
        self.operations.iter().map(|one| (one.id.clone(), one.json(self)))
    }

    fn tags(&self) -> Value {
        json!([{ "name": self.tag }])
    }
}

impl Message {
    fn json(&self) -> Value {
        let mut message = json!({
            "name": self.name,
            "title": self.title,
            "summary": self.summary,
            "contentType": self.content_type,
            "payload": { "$ref": format!("#/components/schemas/{}", self.schema) },
            "examples": self.examples.iter().map(Example::json).collect::<Vec<_>>(),
            "bindings": { "mqtt": {
                "bindingVersion": BINDING_VERSION,
                "contentType": self.content_type,
                // UTF-8, all of them.
                "payloadFormatIndicator": 1,
            } },
        });
        if let Some(description) = &self.description {
            message["description"] = json!(description);
        }
        message
    }
}

impl Example {
    fn json(&self) -> Value {
        let mut example = json!({ "name": self.name, "payload": self.payload });
        if let Some(summary) = self.summary {
            example["summary"] = json!(summary);
        }
        example
    }
}

impl Operation {
    fn json(&self, on: &Channel) -> Value {
        let mut operation = json!({
            "action": self.action.name(),
            "channel": channel(&on.id),
            "messages": [message(&on.id, &on.message.name)],
            "title": self.summary,
            "summary": self.summary,
            "description": self.description,
            "tags": on.tags(),
            "bindings": { "mqtt": {
                "bindingVersion": BINDING_VERSION,
                "qos": on.qos.as_u8(),
                "retain": on.retain,
            } },
        });
        if let Some(reply) = &self.reply {
            operation["reply"] = json!({
                "channel": channel(&reply.channel),
                "messages": [message(&reply.channel, &reply.message)],
            });
        }
        operation
    }
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Action::Send => "send",
            Action::Receive => "receive",
        }
    }
}

fn channel(id: &str) -> Value {
    json!({ "$ref": format!("#/channels/{id}") })
}

fn message(channel: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/channels/{channel}/messages/{name}") })
}

/// A parameter that several channels have.
pub(super) fn shared(name: &str) -> (String, Value) {
    (name.to_owned(), json!({ "$ref": format!("#/components/parameters/{name}") }))
}
