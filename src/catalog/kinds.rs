//! The kinds of services, in the order of the DAQAstra document.
//!
//! To add a kind: write its section, name its constant in [`KINDS`] and its types in [`Payload`], and what it is told in
//! [`CommandInput`]. The compiler and the tests say what is missing. Names of types are the document's.
//!
//! In GraphQL one name has one type in all of [`Payload`], so that a query may ask all of them at once. A field whose
//! name is taken by another type has that of its type behind it: `data`, but `dataNumber`. It has that name also where it
//! is sent.

use async_graphql::{InputObject, Object, OneofObject, SimpleObject, Union};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ArrayBuilder, ObjectBuilder, RefOr, Schema, schema::Type},
};

use super::{
    Answer, Count, Effect, Kind, Mapped, MathValue, Number, Percent, Position, Ratio, Topic, Unit,
    shape::{list, plain, with_lists},
};

pub static KINDS: &[Kind] = &[
    ACTUATOR,
    AHT20,
    ANALOG_IN,
    ANALOG_OUT,
    BANG_BANG,
    BME280,
    COMMAND,
    COMPLEMENTARY_PWM,
    DIGITAL_IN,
    DIGITAL_OUT,
    FLOWMETER,
    IR_CAM,
    LOADCELL,
    MATH,
    MPU6050,
    PDS,
    PID,
    PWM,
    QMC5883L,
    STATEFUL_ACTUATOR,
    STEPPER,
    THERMOCOUPLE,
];

/// What a service says or is told, by the type that its kind and its topic give it.
#[derive(Clone, Debug, PartialEq, Union)]
pub enum Payload {
    ActuatorCommand(ActuatorCommand),
    ActuatorFault(ActuatorFault),
    ActuatorState(ActuatorState),
    Aht20Data(Aht20Data),
    AnalogConversionConfig(AnalogConversionConfig),
    AnalogInData(AnalogInData),
    BangBangCommandandResponse(BangBangCommandandResponse),
    BangBangData(BangBangData),
    Bme280Command(Bme280Command),
    Bme280Data(Bme280Data),
    CommandCmd(CommandCmd),
    ComplementaryPwmCommand(ComplementaryPwmCommand),
    ComplementaryPwmCommandResponse(ComplementaryPwmCommandResponse),
    DacConfig(DacConfig),
    DigitalInData(DigitalInData),
    DigitalOutCommand(DigitalOutCommand),
    DigitalOutData(DigitalOutData),
    FlowMeterConfig(FlowMeterConfig),
    FlowMeterData(FlowMeterData),
    IrCamFrameRow(IrCamFrameRow),
    IrCamMaxData(IrCamMaxData),
    LoadCellData(LoadCellData),
    LoadCellTareCommand(LoadCellTareCommand),
    MathPauseCommand(MathPauseCommand),
    MathPauseResponse(MathPauseResponse),
    MathResult(MathResult),
    MpuAccelData(MpuAccelData),
    MpuConfig(MpuConfig),
    MpuConfigResponse(MpuConfigResponse),
    MpuGyroData(MpuGyroData),
    PWMCommand(PWMCommand),
    PWMCommandResponse(PWMCommandResponse),
    PidCommandAndResponse(PidCommandAndResponse),
    PidData(PidData),
    PowerChannelResponse(PowerChannelResponse),
    PowerRailConfig(PowerRailConfig),
    PowerRailResponse(PowerRailResponse),
    Qmc5883lConfig(Qmc5883lConfig),
    Qmc5883lConfigResponse(Qmc5883lConfigResponse),
    Qmc5883lData(Qmc5883lData),
    StatefulActuatorCommand(StatefulActuatorCommand),
    StatefulActuatorFault(StatefulActuatorFault),
    StatefulActuatorSequenceStatus(StatefulActuatorSequenceStatus),
    StatefulActuatorState(StatefulActuatorState),
    StepperConfig(StepperConfig),
    StepperStatus(StepperStatus),
    ThermocoupleData(ThermocoupleData),
}

impl Payload {
    /// One row of a picture, in degrees Celsius from left to right, if that is what it is.
    pub fn row(&self) -> Option<&[f64]> {
        match self {
            Payload::IrCamFrameRow(row) => Some(&row.pixels),
            _ => None,
        }
    }
}

/// A command, by the kind of service that takes it.
#[derive(Clone, Debug, PartialEq, Serialize, OneofObject)]
#[serde(untagged)]
pub enum CommandInput {
    /// Moves an actuator.
    Actuator(ActuatorCommand),
    /// Sets how an analog input converts.
    AnalogIn(AnalogConversionConfig),
    /// Sets an analog output.
    AnalogOut(DacConfig),
    /// Sets a two-point controller.
    BangBang(BangBangCommandandResponse),
    /// Sets how a BME280 measures.
    Bme280(Bme280Command),
    /// Passes something on within the firmware.
    Command(CommandCmd),
    /// Sets a complementary pair of PWM outputs.
    ComplementaryPwm(ComplementaryPwmCommand),
    /// Switches a digital output.
    DigitalOut(DigitalOutCommand),
    /// Sets how a flow meter turns pulses into a flow.
    Flowmeter(FlowMeterConfig),
    /// Tares a load cell: whether to do it.
    Loadcell(bool),
    /// Pauses an expression, or lets it go on: whether it shall pause.
    Math(bool),
    /// Sets the ranges in which an MPU6050 measures.
    Mpu6050(MpuConfig),
    /// Sets a power rail.
    Pds(PowerRailConfig),
    /// Sets a PID controller.
    Pid(PidCommandAndResponse),
    /// Sets a PWM output.
    Pwm(PWMCommand),
    /// Sets how a QMC5883L measures.
    #[graphql(name = "qmc5883l")]
    Qmc5883l(Qmc5883lConfig),
    /// Moves a stateful actuator.
    StatefulActuator(StatefulActuatorCommand),
    /// Moves a stepper motor.
    Stepper(StepperConfig),
}

impl CommandInput {
    /// The kind, and the payload as JSON, as it goes over the wire.
    pub fn of(&self) -> (&'static Kind, String) {
        let kind: &'static Kind = match self {
            CommandInput::Actuator(_) => &ACTUATOR,
            CommandInput::AnalogIn(_) => &ANALOG_IN,
            CommandInput::AnalogOut(_) => &ANALOG_OUT,
            CommandInput::BangBang(_) => &BANG_BANG,
            CommandInput::Bme280(_) => &BME280,
            CommandInput::Command(_) => &COMMAND,
            CommandInput::ComplementaryPwm(_) => &COMPLEMENTARY_PWM,
            CommandInput::DigitalOut(_) => &DIGITAL_OUT,
            CommandInput::Flowmeter(_) => &FLOWMETER,
            CommandInput::Loadcell(_) => &LOADCELL,
            CommandInput::Math(_) => &MATH,
            CommandInput::Mpu6050(_) => &MPU6050,
            CommandInput::Pds(_) => &PDS,
            CommandInput::Pid(_) => &PID,
            CommandInput::Pwm(_) => &PWM,
            CommandInput::Qmc5883l(_) => &QMC5883L,
            CommandInput::StatefulActuator(_) => &STATEFUL_ACTUATOR,
            CommandInput::Stepper(_) => &STEPPER,
        };
        (kind, serde_json::to_string(self).expect("a command is JSON"))
    }
}

// ---- shared ----------------------------------------------------------------

/// A value with its unit.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// How much, in `unit`.
    pub value: f64,
    /// Symbol of the unit, such as `C`, `Pa` or `%RH`.
    pub unit: String,
}

/// A number that is always in this unit.
const fn is(pointer: &'static str, unit: &'static str) -> Number {
    Number { pointer, unit: Unit::Is(unit) }
}

/// A number whose unit stands in the payload.
const fn at(pointer: &'static str, unit: &'static str) -> Number {
    Number { pointer, unit: Unit::At(unit) }
}

/// A number in the unit of what the service is configured for.
const fn open(pointer: &'static str) -> Number {
    Number { pointer, unit: Unit::Open }
}

/// A number that counts, or has no dimension.
const fn bare(pointer: &'static str) -> Number {
    Number { pointer, unit: Unit::None }
}

/// A field of a command that the answer tells in this one.
const fn maps(sent: &'static str, reported: &'static str) -> Mapped {
    Mapped { sent, reported, in_words: false }
}

// ---- actuator --------------------------------------------------------------

const ACTUATOR: Kind = Kind {
    name: "actuator",
    summary: "Generic actuator command, state and fault reporting",
    topics: &[
        Topic::command("/command", plain::<ActuatorCommand>(), Effect::Hazard, &[r#"{ "command": "OPEN" }"#])
            .answered(Answer::State { on: "/state", fault: "/fault" }),
        Topic::telemetry(
            "/state",
            plain::<ActuatorState>(),
            &[r#"{ "command": "OPEN", "state": "OPEN", "success": true }"#],
        ),
        Topic::event(
            "/fault",
            plain::<ActuatorFault>(),
            &[r#"{ "error": "Unknown State", "state": "Unknown", "attempted_command": "OPEN" }"#],
        ),
    ],
};

/// What an actuator shall do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject, ToSchema)]
#[graphql(input_name = "ActuatorCommandInput")]
#[serde(deny_unknown_fields)]
pub struct ActuatorCommand {
    /// State to move to, such as `OPEN`.
    pub command: String,
}

/// How an actuator stands after a command.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActuatorState {
    /// The command that led here.
    pub command: String,
    /// Where it stands.
    pub state: String,
    /// Whether the command succeeded.
    pub success: bool,
}

/// Why an actuator could not do what it was told.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActuatorFault {
    /// What went wrong, in the device's words.
    pub error: Option<String>,
    /// Where it stands.
    pub state: String,
    /// The command that failed.
    pub attempted_command: String,
}

// ---- aht20 -----------------------------------------------------------------

const AHT20: Kind = Kind {
    name: "aht20",
    summary: "AHT20 humidity / temperature sensor data",
    topics: &[Topic::telemetry(
        // The topic of the service itself, as some other kinds have it too.
        "",
        plain::<Aht20Data>(),
        &[
            r#"{ "temperature": { "value": 22.8, "unit": "C" }, "humidity": { "value": 40.1, "unit": "%RH" }, "dewpoint": { "value": 9.7, "unit": "C" } }"#,
        ],
    )
    .with(&[
        at("/temperature/value", "/temperature/unit"),
        at("/humidity/value", "/humidity/unit"),
        at("/dewpoint/value", "/dewpoint/unit"),
    ])],
};

/// What an AHT20 measures.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Aht20Data {
    /// Of the air.
    pub temperature: Measure,
    /// Relative humidity.
    pub humidity: Measure,
    /// The temperature at which the air's water would condense.
    pub dewpoint: Measure,
}

// ---- analog_in -------------------------------------------------------------

const ANALOG_IN: Kind = Kind {
    name: "analog_in",
    summary: "Analog input channel telemetry and configuration",
    topics: &[
        Topic::telemetry("", plain::<AnalogInData>(), &[r#"{ "value": 0.123, "unit": "V" }"#])
            .with(&[at("/value", "/unit")]),
        // No topic carries an answer to it.
        Topic::command(
            "/config",
            with_lists::<AnalogConversionConfig>(),
            Effect::State,
            &[r#"{ "conversion": { "Polynomial": [0.0, 1.0, 0.0, 0.0] } }"#],
        )
        .with(&[bare("/conversion/Polynomial/*")]),
    ],
};

/// What an analog input measures.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnalogInData {
    /// Converted, in `unit`.
    pub value: f64,
    /// Symbol of the unit, such as `V`.
    pub unit: String,
}

/// How an analog input turns volts into what it measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject, ToSchema)]
#[graphql(input_name = "AnalogConversionConfigInput")]
#[serde(deny_unknown_fields)]
pub struct AnalogConversionConfig {
    /// From the raw value to the one that is told.
    pub conversion: Conversion,
}

/// How a raw value becomes one that is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Union, OneofObject, ToSchema)]
#[graphql(input_name = "ConversionInput")]
pub enum Conversion {
    /// Coefficients, that of the zeroth power first.
    Polynomial(Polynomial),
}

/// A polynomial. On the wire, the bare list of its coefficients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject)]
#[graphql(input_name = "PolynomialInput")]
#[serde(transparent)]
pub struct Polynomial {
    /// That of the zeroth power first.
    pub coefficients: Vec<f64>,
}

impl PartialSchema for Polynomial {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new()
            .description(Some("A polynomial. On the wire, the bare list of its coefficients."))
            .items(f64::schema())
            .into()
    }
}

impl ToSchema for Polynomial {}

// ---- analog_out ------------------------------------------------------------

const ANALOG_OUT: Kind = Kind {
    name: "analog_out",
    summary: "DAC / analog output configuration and feedback",
    topics: &[
        Topic::command(
            "/config",
            plain::<DacConfig>(),
            Effect::State,
            &[r#"{ "value": 2.5, "max_volts": 5.0, "enabled": true }"#],
        )
        .with(DAC_NUMBERS)
        .answered(Answer::Echo { on: "/response" }),
        Topic::telemetry(
            "/response",
            plain::<DacConfig>(),
            &[r#"{ "value": 2.5, "max_volts": 5.0, "enabled": true, "error": null }"#],
        )
        .with(DAC_NUMBERS),
    ],
};

const DAC_NUMBERS: &[Number] = &[is("/value", "V"), is("/max_volts", "V")];

/// What an analog output puts out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject, ToSchema)]
#[graphql(input_name = "DacConfigInput")]
#[serde(deny_unknown_fields)]
pub struct DacConfig {
    /// Output, in volts.
    pub value: f64,
    /// The most that it puts out, in volts.
    pub max_volts: f64,
    /// Whether it puts out anything.
    pub enabled: bool,
    /// Why the device refused, if it did. Null or left out if not, and in a command.
    #[graphql(skip_input)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

// ---- bang_bang -------------------------------------------------------------

const BANG_BANG: Kind = Kind {
    name: "bang_bang",
    summary: "Bang-bang control loop command and status",
    topics: &[
        Topic::command("/config", plain::<BangBangCommandandResponse>(), Effect::State, BANG_BANG_CONFIG)
            .with(BANG_BANG_NUMBERS)
            .answered(Answer::Echo { on: "/response" }),
        Topic::telemetry("/response", plain::<BangBangCommandandResponse>(), BANG_BANG_CONFIG)
            .with(BANG_BANG_NUMBERS),
        Topic::telemetry("/output", plain::<BangBangData>(), &[r#"{ "output": true, "input": 41.2 }"#])
            .with(&[open("/input")]),
    ],
};

const BANG_BANG_CONFIG: &[&str] = &[
    r#"{ "upper_threshold": 50.0, "lower_threshold": 40.0, "update_frequency": 1000, "pause_output": false, "pause_target_input": false }"#,
];

const BANG_BANG_NUMBERS: &[Number] =
    &[open("/upper_threshold"), open("/lower_threshold"), is("/update_frequency", "ms")];

/// What a two-point controller keeps to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject, ToSchema)]
#[graphql(input_name = "BangBangCommandandResponseInput")]
#[serde(deny_unknown_fields)]
pub struct BangBangCommandandResponse {
    /// It switches off above this, in the unit of the input.
    pub upper_threshold: f64,
    /// It switches on below this, in the unit of the input.
    pub lower_threshold: f64,
    /// Time between two updates, in milliseconds, whatever its name says.
    pub update_frequency: Count,
    /// Whether it leaves its output alone.
    pub pause_output: bool,
    /// Whether it no longer looks at its input.
    pub pause_target_input: bool,
}

/// What a two-point controller does.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BangBangData {
    /// Whether it is switched on. On the wire `output`.
    #[graphql(name = "outputBool")]
    pub output: bool,
    /// What it looks at.
    pub input: f64,
}

// ---- bme280 ----------------------------------------------------------------

const BME280: Kind = Kind {
    name: "bme280",
    summary: "BME280 environmental sensor (temperature, pressure, humidity, dewpoint)",
    topics: &[
        Topic::command(
            "/config",
            plain::<Bme280Command>(),
            Effect::State,
            &[r#"{ "standby": "62ms", "mode": "Weather", "offset": 0.0 }"#],
        )
        .with(&[is("/offset", "C")])
        .answered(Answer::Reading { on: "/response" }),
        Topic::telemetry("/data", plain::<Bme280Data>(), BME280_DATA).with(BME280_NUMBERS),
        // A measurement, not what was configured.
        Topic::telemetry("/response", plain::<Bme280Data>(), BME280_DATA).with(BME280_NUMBERS),
    ],
};

const BME280_DATA: &[&str] = &[
    r#"{ "temperature": { "value": 23.5, "unit": "C" }, "pressure": { "value": 101325, "unit": "Pa" }, "humidity": { "value": 45.2, "unit": "%RH" }, "dewpoint": { "value": 11.2, "unit": "C" } }"#,
];

const BME280_NUMBERS: &[Number] = &[
    at("/temperature/value", "/temperature/unit"),
    at("/pressure/value", "/pressure/unit"),
    at("/humidity/value", "/humidity/unit"),
    at("/dewpoint/value", "/dewpoint/unit"),
];

/// How a BME280 measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject, ToSchema)]
#[graphql(input_name = "Bme280CommandInput")]
#[serde(deny_unknown_fields)]
pub struct Bme280Command {
    /// Time between two measurements, such as `62ms`.
    pub standby: String,
    /// Profile, such as `Weather`.
    pub mode: String,
    /// Added to the temperature, in degrees Celsius.
    pub offset: f64,
}

/// What a BME280 measures.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Bme280Data {
    /// Of the air.
    pub temperature: Measure,
    /// Of the air.
    pub pressure: Measure,
    /// Relative humidity.
    pub humidity: Measure,
    /// The temperature at which the air's water would condense.
    pub dewpoint: Measure,
}

// ---- command ---------------------------------------------------------------

const COMMAND: Kind = Kind {
    name: "command",
    summary: "Send an arbitrary command to another service in-firmware",
    topics: &[Topic::command("", plain::<CommandCmd>(), Effect::OneShot, &[r#"{ "data": true }"#])],
};

/// A command that is passed on within the firmware.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject, ToSchema)]
#[graphql(input_name = "CommandCmdInput")]
#[serde(deny_unknown_fields)]
pub struct CommandCmd {
    /// Passed on as it is. On the wire `data`.
    #[graphql(name = "dataJson")]
    pub data: serde_json::Value,
}

// ---- complementary_pwm -----------------------------------------------------

const COMPLEMENTARY_PWM: Kind = Kind {
    name: "complementary_pwm",
    summary: "Complementary PWM output pair with deadtime",
    topics: &[
        Topic::command(
            "/config",
            plain::<ComplementaryPwmCommand>(),
            Effect::HazardWhen("/enable"),
            &[r#"{ "enable": true, "duty": 0.4, "frequency": 20000, "deadtime": 0.02 }"#],
        )
        .with(COMPLEMENTARY_PWM_NUMBERS)
        .answered(Answer::Echo { on: "/response" }),
        Topic::telemetry(
            "/response",
            plain::<ComplementaryPwmCommandResponse>(),
            &[r#"{ "enable": true, "duty": 0.4, "frequency": 20000, "deadtime": 0.02, "error": null }"#],
        )
        .with(COMPLEMENTARY_PWM_NUMBERS),
    ],
};

const COMPLEMENTARY_PWM_NUMBERS: &[Number] = &[bare("/duty"), is("/frequency", "Hz"), bare("/deadtime")];

/// What a complementary pair of PWM outputs shall put out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject, ToSchema)]
#[graphql(input_name = "ComplementaryPwmCommandInput")]
#[serde(deny_unknown_fields)]
pub struct ComplementaryPwmCommand {
    /// Whether it puts out anything.
    pub enable: bool,
    /// Share of a period in which it is on.
    pub duty: Ratio,
    /// In hertz.
    pub frequency: Count,
    /// Share of a period in which both outputs are off.
    pub deadtime: Ratio,
}

/// What a complementary pair of PWM outputs puts out.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ComplementaryPwmCommandResponse {
    /// Whether it puts out anything.
    pub enable: bool,
    /// Share of a period in which it is on.
    pub duty: Ratio,
    /// In hertz.
    pub frequency: Count,
    /// Share of a period in which both outputs are off.
    pub deadtime: Ratio,
    /// Why the device refused, if it did.
    pub error: Option<String>,
}

// ---- digital_in ------------------------------------------------------------

const DIGITAL_IN: Kind = Kind {
    name: "digital_in",
    summary: "Digital input state reporting",
    topics: &[Topic::telemetry("/out", plain::<DigitalInData>(), &[r#"{ "data": true }"#])],
};

/// How a digital input stands.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DigitalInData {
    /// Whether it is high.
    pub data: bool,
}

// ---- digital_out -----------------------------------------------------------

const DIGITAL_OUT: Kind = Kind {
    name: "digital_out",
    summary: "Digital output control and feedback",
    topics: &[
        Topic::command("/config", plain::<DigitalOutCommand>(), Effect::State, &[r#"{ "command": true }"#])
            .answered(Answer::Mapped { on: "/response", fields: &[maps("/command", "/data")] }),
        Topic::telemetry("/response", plain::<DigitalOutData>(), &[r#"{ "data": true }"#]),
    ],
};

/// How a digital output shall stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject, ToSchema)]
#[graphql(input_name = "DigitalOutCommandInput")]
#[serde(deny_unknown_fields)]
pub struct DigitalOutCommand {
    /// Whether it shall be high. On the wire `command`.
    #[graphql(name = "commandBool")]
    pub command: bool,
}

/// How a digital output stands.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DigitalOutData {
    /// Whether it is high.
    pub data: bool,
}

// ---- flowmeter -------------------------------------------------------------

const FLOWMETER: Kind = Kind {
    name: "flowmeter",
    summary: "Flow meter pulse counting and rate reporting",
    topics: &[
        Topic::command("/config", plain::<FlowMeterConfig>(), Effect::State, FLOWMETER_CONFIG)
            .with(FLOWMETER_NUMBERS)
            .answered(Answer::Echo { on: "/response" }),
        Topic::telemetry("/response", plain::<FlowMeterConfig>(), FLOWMETER_CONFIG).with(FLOWMETER_NUMBERS),
        // It says `units`, where every other kind says `unit`.
        Topic::telemetry("/data", plain::<FlowMeterData>(), &[r#"{ "value": 3.21, "units": "L/min" }"#])
            .with(&[at("/value", "/units")]),
    ],
};

const FLOWMETER_CONFIG: &[&str] = &[r#"{ "slope": 1.0, "offset": 0.0, "measurement_interval": 1000 }"#];

const FLOWMETER_NUMBERS: &[Number] = &[bare("/slope"), open("/offset"), is("/measurement_interval", "ms")];

/// How a flow meter turns pulses into a flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject, ToSchema)]
#[graphql(input_name = "FlowMeterConfigInput")]
#[serde(deny_unknown_fields)]
pub struct FlowMeterConfig {
    /// The flow of one pulse in a second.
    pub slope: f64,
    /// Added to the flow.
    pub offset: f64,
    /// In which it counts pulses, in milliseconds.
    pub measurement_interval: Count,
}

/// What a flow meter measures.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowMeterData {
    /// The flow, in `units`.
    pub value: f64,
    /// Symbol of the unit, such as `L/min`.
    pub units: String,
}

// ---- ir_cam ----------------------------------------------------------------

const IR_CAM: Kind = Kind {
    name: "ir_cam",
    summary: "IR camera max pixel and frame row data. One frame consists of 36 rows of 24 pixels.",
    topics: &[
        Topic::telemetry("/max", plain::<IrCamMaxData>(), &[r#"{ "data": 41.7 }"#]).with(&[is("/data", "C")]),
        Topic::telemetry(
            "/{row}",
            list::<IrCamFrameRow>(),
            &[
                "[23.1, 23.5, 23.6, 23.6, 23.7, 23.7, 23.8, 23.9, 24.0, 24.2, 24.5, 24.9, 25.1, 25.0, 24.8, 24.6, 24.4, 24.2, 24.0, 23.9, 23.8, 23.7, 23.6, 23.5]",
            ],
        )
        .for_each(0..36)
        .with(&[is("/*", "C")]),
    ],
};

/// The hottest pixel of an infrared camera.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IrCamMaxData {
    /// Its temperature, in degrees Celsius. On the wire `data`.
    #[graphql(name = "dataNumber")]
    pub data: f64,
}

/// One row of a frame. On the wire, a bare list.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct IrCamFrameRow {
    /// Temperatures from left to right, in degrees Celsius: 24 of them, or 32.
    pub pixels: Vec<f64>,
}

impl IrCamFrameRow {
    /// The document has rows of 24. The sensor that is common has 24 rows of 32.
    const LENGTHS: [usize; 2] = [24, 32];
}

impl<'de> Deserialize<'de> for IrCamFrameRow {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<IrCamFrameRow, D::Error> {
        let pixels = Vec::<f64>::deserialize(json)?;
        if IrCamFrameRow::LENGTHS.contains(&pixels.len()) {
            return Ok(IrCamFrameRow { pixels });
        }
        Err(D::Error::invalid_length(pixels.len(), &"a list of 24 or 32 numbers"))
    }
}

impl PartialSchema for IrCamFrameRow {
    fn schema() -> RefOr<Schema> {
        let [shortest, longest] = IrCamFrameRow::LENGTHS;
        ArrayBuilder::new()
            .description(Some(
                "One row of a frame: temperatures from left to right, in degrees Celsius, 24 or 32 of them.",
            ))
            .items(ObjectBuilder::new().schema_type(Type::Number).build())
            .min_items(Some(shortest))
            .max_items(Some(longest))
            .into()
    }
}

impl ToSchema for IrCamFrameRow {}

// ---- loadcell --------------------------------------------------------------

const LOADCELL: Kind = Kind {
    name: "loadcell",
    summary: "Load cell data (publishes raw/converted weight) and tare command",
    topics: &[
        Topic::telemetry("", plain::<LoadCellData>(), &[r#"{ "value": 12.34, "unit": "g" }"#])
            .with(&[at("/value", "/unit")]),
        // A bare boolean, and no topic carries an answer to it.
        Topic::command("/tare", plain::<LoadCellTareCommand>(), Effect::OneShot, &["true"]),
    ],
};

/// What a load cell weighs.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadCellData {
    /// In `unit`, or raw.
    pub value: f64,
    /// Symbol of the unit, such as `g`.
    pub unit: String,
}

/// Call what lies on a load cell nothing. On the wire, a bare boolean.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
pub struct LoadCellTareCommand(pub bool);

/// Call what lies on a load cell nothing.
#[Object]
impl LoadCellTareCommand {
    /// Whether to do it. On the wire, all there is.
    async fn tare(&self) -> bool {
        self.0
    }
}

// ---- math ------------------------------------------------------------------

const MATH: Kind = Kind {
    name: "math",
    summary: "Arbitrary math expression using other services in a firmware. Result will either be f32 or bool depending on the configured output type of the channel.",
    topics: &[
        // A bare boolean, and the answer has it in an object.
        Topic::command("/pause", plain::<MathPauseCommand>(), Effect::State, &["true"])
            .answered(Answer::Mapped { on: "/response", fields: &[maps("", "/data")] }),
        // Printed as incoming and as telemetry: values that others of the firmware tell.
        Topic::feed("/ch{n}", plain::<MathResult>(), &[r#"{ "data": 1.0 }"#, r#"{ "data": true }"#])
            .for_each(0..MATH_CHANNELS)
            .with(&[open("/data")]),
        Topic::telemetry("/response", plain::<MathPauseResponse>(), &[r#"{ "data": true }"#]),
    ],
};

/// The document has `num_channels`, which is configured elsewhere.
const MATH_CHANNELS: u16 = 256;

/// Whether an expression is worked out. On the wire, a bare boolean.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
pub struct MathPauseCommand(pub bool);

/// Whether an expression is worked out.
#[Object]
impl MathPauseCommand {
    /// Whether it shall pause. On the wire, all there is.
    async fn pause(&self) -> bool {
        self.0
    }
}

/// Whether an expression pauses.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MathPauseResponse {
    /// Whether it pauses.
    pub data: bool,
}

/// A value of one channel of an expression.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MathResult {
    /// A number or a boolean, as the channel is configured. On the wire `data`.
    #[graphql(name = "dataValue")]
    pub data: MathValue,
}

// ---- mpu6050 ---------------------------------------------------------------

const MPU6050: Kind = Kind {
    name: "mpu6050",
    summary: "MPU6050 IMU configuration and accel/gyro telemetry",
    topics: &[
        // Sent numbers, it answers texts, and the document does not say which text a number becomes.
        Topic::command("/config", plain::<MpuConfig>(), Effect::State, &[r#"{ "accel": 2, "gyro": 1 }"#])
            .with(&[bare("/accel"), bare("/gyro")])
            .answered(Answer::Mapped {
                on: "/response",
                fields: &[
                    Mapped { in_words: true, ..maps("/accel", "/accel") },
                    Mapped { in_words: true, ..maps("/gyro", "/gyro") },
                ],
            }),
        Topic::telemetry(
            "/accel",
            plain::<MpuAccelData>(),
            &[r#"{ "x": 0.01, "y": -0.02, "z": 0.98, "temp": 36.5, "roll": 1.2, "pitch": -0.7 }"#],
        )
        .with(&[
            is("/x", "g"),
            is("/y", "g"),
            is("/z", "g"),
            is("/temp", "C"),
            is("/roll", "deg"),
            is("/pitch", "deg"),
        ]),
        Topic::telemetry(
            "/gyro",
            plain::<MpuGyroData>(),
            &[r#"{ "x": 0.1, "y": -0.1, "z": 0.05, "temp": 36.5 }"#],
        )
        .with(&[is("/x", "deg/s"), is("/y", "deg/s"), is("/z", "deg/s"), is("/temp", "C")]),
        Topic::telemetry(
            "/response",
            plain::<MpuConfigResponse>(),
            &[r#"{ "accel": "2g", "gyro": "250dps" }"#],
        ),
    ],
};

/// The ranges in which an MPU6050 shall measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject, ToSchema)]
#[graphql(input_name = "MpuConfigInput")]
#[serde(deny_unknown_fields)]
pub struct MpuConfig {
    /// Which range, as the firmware counts them. On the wire `accel`.
    #[graphql(name = "accelCount")]
    pub accel: Count,
    /// Which range, as the firmware counts them. On the wire `gyro`.
    #[graphql(name = "gyroCount")]
    pub gyro: Count,
}

/// Acceleration, as an MPU6050 measures it.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MpuAccelData {
    /// In g.
    pub x: f64,
    /// In g.
    pub y: f64,
    /// In g.
    pub z: f64,
    /// Of the chip, in degrees Celsius.
    pub temp: f64,
    /// In degrees.
    pub roll: f64,
    /// In degrees.
    pub pitch: f64,
}

/// Rotation, as an MPU6050 measures it.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MpuGyroData {
    /// In degrees a second.
    pub x: f64,
    /// In degrees a second.
    pub y: f64,
    /// In degrees a second.
    pub z: f64,
    /// Of the chip, in degrees Celsius.
    pub temp: f64,
}

/// The ranges in which an MPU6050 measures.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MpuConfigResponse {
    /// Such as `2g`.
    pub accel: String,
    /// Such as `250dps`.
    pub gyro: String,
}

// ---- pds -------------------------------------------------------------------

const PDS: Kind = Kind {
    name: "pds",
    summary: "Power distribution system channel & rail configuration and telemetry",
    topics: &[
        Topic::command(
            "/config",
            plain::<PowerRailConfig>(),
            Effect::HazardWhen("/enable"),
            &[r#"{ "rail": "Vcc2I", "over_current_limit": 10, "over_voltage_limit": 26, "enable": true }"#],
        )
        .with(&[is("/over_current_limit", "A"), is("/over_voltage_limit", "V")])
        .answered(Answer::Implied { named: "/rail", sent: "/enable", reported: "/enabled" }),
        Topic::telemetry(
            "/ch{n}",
            plain::<PowerChannelResponse>(),
            &[
                r#"{ "state": "Running", "current": 0.12, "enabled": true, "power_good": true }"#,
                r#"{ "state": "Disabled { rt: None }", "current": 0, "enabled": false, "power_good": false }"#,
            ],
        )
        .for_each(0..8)
        .with(&[is("/current", "A")]),
        Topic::telemetry(
            "/vcc{n}i",
            plain::<PowerRailResponse>(),
            &[r#"{ "state": "Running", "current": 0.50, "voltage": 5.05, "enabled": true }"#],
        )
        .for_each(1..3)
        .with(&[is("/current", "A"), is("/voltage", "V")]),
    ],
};

/// What a power rail shall do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject, ToSchema)]
#[graphql(input_name = "PowerRailConfigInput")]
#[serde(deny_unknown_fields)]
pub struct PowerRailConfig {
    /// Which, such as `Vcc2I`: it reports on the topic of that name in lower case.
    pub rail: String,
    /// It is switched off above this, in amperes.
    pub over_current_limit: f64,
    /// It is switched off above this, in volts.
    pub over_voltage_limit: f64,
    /// Whether it is switched on.
    pub enable: bool,
}

/// How a power channel stands.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerChannelResponse {
    /// In the firmware's own words: `Running`, but also `Disabled { rt: None }`.
    pub state: String,
    /// In amperes.
    pub current: f64,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Whether its voltage is as it should be.
    pub power_good: bool,
}

/// How a power rail stands.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerRailResponse {
    /// In the firmware's own words: `Running`, but also `Disabled { rt: None }`.
    pub state: String,
    /// In amperes.
    pub current: f64,
    /// In volts.
    pub voltage: f64,
    /// Whether it is switched on.
    pub enabled: bool,
}

// ---- pid -------------------------------------------------------------------

const PID: Kind = Kind {
    name: "pid",
    summary: "PID controller command, response, and output topics",
    topics: &[
        Topic::command("/config", plain::<PidCommandAndResponse>(), Effect::State, PID_CONFIG)
            .with(PID_NUMBERS)
            .answered(Answer::Echo { on: "/response" }),
        Topic::telemetry("/response", plain::<PidCommandAndResponse>(), PID_CONFIG).with(PID_NUMBERS),
        Topic::telemetry(
            "/output",
            plain::<PidData>(),
            &[r#"{ "output": 0.15, "last_output": 0.14, "setpoint": 1.0, "input": 0.92 }"#],
        )
        .with(&[open("/output"), open("/last_output"), open("/setpoint"), open("/input")]),
    ],
};

const PID_CONFIG: &[&str] = &[
    r#"{ "kp": 0.2, "ki": 0.02, "kd": 0.4, "setpoint": 1.0, "pause_output": false, "pause_target_input": false }"#,
];

const PID_NUMBERS: &[Number] = &[bare("/kp"), bare("/ki"), bare("/kd"), open("/setpoint")];

/// What a PID controller keeps to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject, ToSchema)]
#[graphql(input_name = "PidCommandAndResponseInput")]
#[serde(deny_unknown_fields)]
pub struct PidCommandAndResponse {
    /// Proportional gain.
    pub kp: f64,
    /// Integral gain.
    pub ki: f64,
    /// Derivative gain.
    pub kd: f64,
    /// Where the input shall be, in its unit.
    pub setpoint: f64,
    /// Whether it leaves its output alone.
    pub pause_output: bool,
    /// Whether it no longer looks at its input.
    pub pause_target_input: bool,
}

/// What a PID controller does.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PidData {
    /// What it puts out.
    pub output: f64,
    /// What it put out before.
    pub last_output: f64,
    /// Where the input shall be, in its unit.
    pub setpoint: f64,
    /// What it looks at.
    pub input: f64,
}

// ---- pwm -------------------------------------------------------------------

const PWM: Kind = Kind {
    name: "pwm",
    summary: "Standard PWM output control and response",
    topics: &[
        Topic::command(
            "/config",
            plain::<PWMCommand>(),
            Effect::HazardWhen("/enable"),
            &[r#"{ "enable": true, "duty": 0.5, "frequency": 1000 }"#],
        )
        .with(PWM_NUMBERS)
        .answered(Answer::Echo { on: "/response" }),
        Topic::telemetry(
            "/response",
            plain::<PWMCommandResponse>(),
            &[r#"{ "enable": true, "duty": 0.5, "frequency": 1000, "error": null }"#],
        )
        .with(PWM_NUMBERS),
    ],
};

const PWM_NUMBERS: &[Number] = &[bare("/duty"), is("/frequency", "Hz")];

/// What a PWM output shall put out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject, ToSchema)]
#[graphql(name = "PWMCommand", input_name = "PWMCommandInput")]
#[serde(deny_unknown_fields)]
pub struct PWMCommand {
    /// Whether it puts out anything.
    pub enable: bool,
    /// Share of a period in which it is on.
    pub duty: Ratio,
    /// In hertz.
    pub frequency: Count,
}

/// What a PWM output puts out.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[graphql(name = "PWMCommandResponse")]
#[serde(deny_unknown_fields)]
pub struct PWMCommandResponse {
    /// Whether it puts out anything.
    pub enable: bool,
    /// Share of a period in which it is on.
    pub duty: Ratio,
    /// In hertz.
    pub frequency: Count,
    /// Why the device refused, if it did.
    pub error: Option<String>,
}

// ---- qmc5883l --------------------------------------------------------------

const QMC5883L: Kind = Kind {
    name: "qmc5883l",
    summary: "QMC5883L magnetometer heading / vector data and configuration",
    topics: &[
        Topic::command(
            "/config",
            plain::<Qmc5883lConfig>(),
            Effect::State,
            &[r#"{ "field_range": 2, "data_rate": 50, "oversample": 512, "declination": -13.2 }"#],
        )
        .with(&[is("/field_range", "G"), is("/data_rate", "Hz"), bare("/oversample"), is("/declination", "deg")])
        .answered(Answer::Outcome { on: "/response", success: "/success", error: "/error" }),
        Topic::telemetry(
            "",
            plain::<Qmc5883lData>(),
            &[r#"{ "x": 120.0, "y": -30.5, "z": 5.2, "heading": 182.4 }"#],
        )
        .with(&[open("/x"), open("/y"), open("/z"), is("/heading", "deg")]),
        Topic::telemetry(
            "/response",
            plain::<Qmc5883lConfigResponse>(),
            &[
                r#"{ "success": { "field_range": 2, "data_rate": 50, "oversample": 512, "declination": -13.2 }, "error": null }"#,
            ],
        )
        .with(&[
            is("/success/field_range", "G"),
            is("/success/data_rate", "Hz"),
            bare("/success/oversample"),
            is("/success/declination", "deg"),
        ]),
    ],
};

/// How a QMC5883L measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject, ToSchema)]
#[graphql(name = "Qmc5883lConfig", input_name = "Qmc5883lConfigInput")]
#[serde(deny_unknown_fields)]
pub struct Qmc5883lConfig {
    /// In gauss.
    pub field_range: Count,
    /// In hertz.
    pub data_rate: Count,
    /// Samples that make one value.
    pub oversample: Count,
    /// Between magnetic and true north, in degrees.
    pub declination: f64,
}

/// What a QMC5883L measures.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[graphql(name = "Qmc5883lData")]
#[serde(deny_unknown_fields)]
pub struct Qmc5883lData {
    /// The field along this axis.
    pub x: f64,
    /// The field along this axis.
    pub y: f64,
    /// The field along this axis.
    pub z: f64,
    /// From north, in degrees.
    pub heading: f64,
}

/// What became of a configuration.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[graphql(name = "Qmc5883lConfigResponse")]
#[serde(deny_unknown_fields)]
pub struct Qmc5883lConfigResponse {
    /// What it works with now. On the wire `success`.
    #[graphql(name = "successConfig")]
    pub success: Option<Qmc5883lConfig>,
    /// Why the device refused, if it did.
    pub error: Option<String>,
}

// ---- stateful_actuator -----------------------------------------------------

const STATEFUL_ACTUATOR: Kind = Kind {
    name: "stateful_actuator",
    summary: "Stateful actuator sequences, moves and status topics (schema-defined config)",
    topics: &[
        Topic::command(
            "/command",
            plain::<StatefulActuatorCommand>(),
            Effect::Hazard,
            &[r#"{ "command": "TRANSITION" }"#],
        )
        .answered(Answer::State { on: "/state", fault: "/fault" }),
        // Printed as an incoming command; it says what went wrong, and nobody but the device knows.
        Topic::event(
            "/fault",
            with_lists::<StatefulActuatorFault>(),
            &[
                r#"{ "error": "Invalid State", "inputs": [true, false], "outputs": [true, false], "current_state": "IDLE" }"#,
            ],
        ),
        Topic::telemetry(
            "/sequence",
            plain::<StatefulActuatorSequenceStatus>(),
            &[r#"{ "name": "seq1", "success": true }"#],
        ),
        Topic::telemetry(
            "/state",
            with_lists::<StatefulActuatorState>(),
            &[
                r#"{ "success": true, "inputs": [true, false], "outputs": [true, false], "current_state": "IDLE" }"#,
            ],
        ),
    ],
};

/// What a stateful actuator shall do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject, ToSchema)]
#[graphql(input_name = "StatefulActuatorCommandInput")]
#[serde(deny_unknown_fields)]
pub struct StatefulActuatorCommand {
    /// Such as `TRANSITION`.
    pub command: String,
}

/// Why a stateful actuator could not do what it was told.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatefulActuatorFault {
    /// What went wrong, in the device's words.
    pub error: Option<String>,
    /// How its inputs stand.
    pub inputs: Vec<bool>,
    /// How its outputs stand.
    pub outputs: Vec<bool>,
    /// Where it stands.
    pub current_state: String,
}

/// How a sequence of a stateful actuator ended.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatefulActuatorSequenceStatus {
    /// Of the sequence.
    pub name: String,
    /// Whether it succeeded.
    pub success: bool,
}

/// How a stateful actuator stands.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatefulActuatorState {
    /// Whether it did what it was told.
    pub success: bool,
    /// How its inputs stand.
    pub inputs: Vec<bool>,
    /// How its outputs stand.
    pub outputs: Vec<bool>,
    /// Where it stands.
    pub current_state: String,
}

// ---- stepper ---------------------------------------------------------------

const STEPPER: Kind = Kind {
    name: "stepper",
    summary: "Stepper driver motion command, response and status progress",
    topics: &[
        Topic::command("/config", plain::<StepperConfig>(), Effect::Hazard, STEPPER_CONFIG)
            .with(STEPPER_NUMBERS)
            .answered(Answer::Echo { on: "/response" }),
        Topic::telemetry("/response", plain::<StepperConfig>(), STEPPER_CONFIG).with(STEPPER_NUMBERS),
        Topic::telemetry(
            "/status",
            plain::<StepperStatus>(),
            &[r#"{ "percent": 42, "steps": 840, "position": 1234 }"#],
        )
        .with(&[is("/percent", "%"), bare("/steps"), bare("/position")]),
    ],
};

const STEPPER_CONFIG: &[&str] = &[
    r#"{ "target_accel": 0.1, "max_velocity": 0.5, "num_steps": 2000, "direction": true, "enable": true }"#,
];

const STEPPER_NUMBERS: &[Number] = &[open("/target_accel"), open("/max_velocity"), bare("/num_steps")];

/// How a stepper motor moves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, InputObject, ToSchema)]
#[graphql(input_name = "StepperConfigInput")]
#[serde(deny_unknown_fields)]
pub struct StepperConfig {
    /// How fast it gets faster.
    pub target_accel: f64,
    /// How fast it gets.
    pub max_velocity: f64,
    /// How far it goes.
    pub num_steps: Count,
    /// Which way; the wiring says which is which.
    pub direction: bool,
    /// Whether its coils have power.
    pub enable: bool,
}

/// How far a stepper motor has come.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StepperStatus {
    /// Of this motion: here hundredths, where every other kind has shares of one.
    pub percent: Percent,
    /// Of this motion.
    pub steps: Count,
    /// In steps from where it counts from.
    pub position: Position,
}

// ---- thermocouple ----------------------------------------------------------

const THERMOCOUPLE: Kind = Kind {
    name: "thermocouple",
    summary: "Thermocouple temperature readings",
    topics: &[Topic::telemetry(
        "/temperature",
        plain::<ThermocoupleData>(),
        &[r#"{ "temperature": 23.5, "ambient": 22.1, "unit": "C", "error": null }"#],
    )
    .with(&[at("/temperature", "/unit"), at("/ambient", "/unit")])],
};

/// What a thermocouple measures.
#[derive(Clone, Debug, PartialEq, Deserialize, SimpleObject, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ThermocoupleData {
    /// At its tip, in `unit`. On the wire `temperature`.
    #[graphql(name = "temperatureNumber")]
    pub temperature: f64,
    /// At its other end, in `unit`.
    pub ambient: f64,
    /// Symbol of the unit, such as `C`.
    pub unit: String,
    /// What is wrong with it, if anything.
    pub error: Option<String>,
}
