//! The channels of the devices: what they measure, whether they are there, what they are told.

use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::parts::{Action, Channel, Example, JSON, Message, Operation, TEXT, shared};
use crate::{
    address::{Form, NAME, PLAY, PRESENCE, SENSOR},
    model::{self, Pair, PresencePayload, SensorPayload},
};

/// The tag of all that is here.
pub(super) const TAG: &str = "devices";
const DEVICE: &str = "device";
const COMMAND_SCHEMA: &str = "CommandPayload";

pub(super) fn tag() -> Value {
    json!({ "name": TAG, "description": "What devices measure, whether they are there, and what they are told to do" })
}

pub(super) fn channels(pair: &Pair) -> [Channel; 3] {
    [commands(pair), presence(), sensors()]
}

pub(super) fn parameters(pair: &Pair) -> [(String, Value); 1] {
    let device =
        json!({ "description": format!("The name of the device: {NAME}"), "examples": [pair.0, pair.1] });
    [(DEVICE.to_owned(), device)]
}

pub(super) fn schemas() -> [(String, Value); 3] {
    let command = json!({
        "type": "string",
        "description": "`true` plays, `false` stops, an empty message resumes.",
        "enum": model::Action::ALL.map(model::Action::payload),
    });
    [(COMMAND_SCHEMA.to_owned(), command), schema::<PresencePayload>(), schema::<SensorPayload>()]
}

fn schema<T: ToSchema>() -> (String, Value) {
    (T::name().into_owned(), json!(T::schema()))
}

/// The channel of a form, called as its first level is.
fn channel(
    form: Form,
    title: &str,
    description: String,
    message: Message,
    operations: Vec<Operation>,
) -> Channel {
    Channel {
        id: form.root.to_owned(),
        address: form.to_string(),
        title: title.to_owned(),
        description,
        tag: TAG,
        parameters: Map::from_iter([shared(DEVICE)]),
        qos: form.qos,
        retain: form.retain,
        message,
        operations,
    }
}

fn example(name: &str, summary: &'static str, payload: Value) -> Example {
    Example { name: name.to_owned(), summary: Some(summary), payload }
}

fn operation(id: &str, action: Action, summary: &str, description: &str) -> Operation {
    Operation {
        id: id.to_owned(),
        action,
        summary: summary.to_owned(),
        description: description.to_owned(),
        reply: None,
    }
}

fn sensors() -> Channel {
    let message = Message {
        name: "reading".to_owned(),
        title: "Reading".to_owned(),
        summary: "What a device measures now. Fields beyond these are kept.".to_owned(),
        description: None,
        content_type: JSON,
        schema: SensorPayload::name().into_owned(),
        examples: vec![
            example(
                "below",
                "Nothing to play about",
                json!({ "temperature": 21.5, "humidity": 48, "threshold": 29 }),
            ),
            example(
                "over",
                "The threshold is reached: the peer plays",
                json!({ "temperature": 29, "humidity": 40.5, "threshold": 29 }),
            ),
            example(
                "complete",
                "With the fields that may be absent",
                json!({ "temperature": 31.5, "humidity": 40, "threshold": 29, "over_threshold": true, "unit": "C" }),
            ),
        ],
    };
    let operations = vec![
        operation(
            "send_reading",
            Action::Send,
            "Say what it measures",
            "Every 2.6 seconds or so. A device that is silent for three of its periods, and no less than 5 seconds, is \
             STALE. A reading is never retained: what was measured once says nothing about now.",
        ),
        operation(
            "receive_peer_reading",
            Action::Receive,
            "Hear what the peer measures",
            "A device of the pair plays while its peer's threshold is reached, unless a command says otherwise.",
        ),
    ];
    let description = "Devices in the field also say `sensors/rasperry` and mean `sensors/raspberry`.";
    channel(SENSOR, "What devices measure", description.to_owned(), message, operations)
}

fn presence() -> Channel {
    let message = Message {
        name: "presence".to_owned(),
        title: "Presence".to_owned(),
        summary: "Whether a device is there. Case does not matter, nor does space around it.".to_owned(),
        description: None,
        content_type: TEXT,
        schema: PresencePayload::name().into_owned(),
        examples: vec![
            example("online", "The device has connected", json!(PresencePayload::Online)),
            example(
                "offline",
                "The device leaves, or its will says that it is gone",
                json!(PresencePayload::Offline),
            ),
        ],
    };
    let operations = vec![
        operation(
            "send_presence",
            Action::Send,
            "Say that it is there",
            "`online` after it has connected, `offline` before it leaves, both retained. `offline` is its will as well, \
             retained, of QoS 0 or 1. An alias of the topic alone proves nobody's presence, nor does a message that was \
             retained.",
        ),
        operation(
            "receive_peer_presence",
            Action::Receive,
            "Hear that the peer is there",
            "A device of the pair begins its melody anew with each `online` of its peer.",
        ),
    ];
    let description = format!(
        "What stands here is true: when it differs from what the gateway knows by the device's connection, the gateway \
         corrects it. Devices in the field also say `/{PRESENCE}`."
    );
    channel(PRESENCE, "Which devices are there", description, message, operations)
}

fn commands(pair: &Pair) -> Channel {
    let shown = |action: model::Action| {
        let shows = match action {
            model::Action::Play => "Play, whatever the peer measures",
            model::Action::Stop => "Be silent, whatever the peer measures",
            model::Action::Resume => "Follow the peer again",
        };
        example(action.name(), shows, json!(action.payload()))
    };
    let message = Message {
        name: "command".to_owned(),
        title: "Command".to_owned(),
        summary: "Play, stop or resume.".to_owned(),
        description: None,
        content_type: TEXT,
        schema: COMMAND_SCHEMA.to_owned(),
        examples: model::Action::ALL.map(shown).into(),
    };
    let operations = vec![operation(
        "receive_command",
        Action::Receive,
        "Be told to play, to stop or to resume",
        "Subscribe with QoS 1: the acknowledgement is all that a command gets for an answer. A command is never retained, \
         kept for a device that is away, or sent again; one that is published as retained is a rejection and reaches \
         nobody. A device that restarts has forgotten what it was told.",
    )];
    let description = format!(
        "Sent by the gateway for those who use REST, GraphQL or the pages. Another client's commands are recorded as \
         well, also on `{0}{2}` and `{1}{2}`, where devices in the field look for them.",
        pair.0, pair.1, "/play"
    );
    channel(PLAY, "What devices are told to do", description, message, operations)
}
