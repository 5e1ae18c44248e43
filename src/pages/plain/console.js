const examples = {
  "Devices": "{\n  devices {\n    name\n    presence { status since reason }\n    latest { at temperature humidity overThreshold }\n    mode\n    crossLink { peer expectedPlaying hazard }\n  }\n}",
  "Readings of a device": "{\n  device(name: \"esp32\") {\n    readings(first: 10) {\n      nodes { seq at temperature }\n      pageInfo { hasNextPage endCursor }\n    }\n  }\n}",
  "Commands": "{\n  commands(first: 10) {\n    nodes { id at device action state delivery surface }\n  }\n}",
  "Rejections": "{\n  rejections(first: 10) {\n    nodes { seq at topic clientId reason detail payload }\n  }\n}",
  "Clients": "{\n  clients {\n    nodes { clientId address version since queued inFlight }\n  }\n}",
  "Play": "mutation {\n  play(device: \"esp32\") { id state delivery }\n}",
  "Resume": "mutation {\n  resume(device: \"esp32\") { id state delivery }\n}",
  "Live readings": "subscription {\n  sensors(current: true) { seq at device temperature overThreshold }\n}",
  "Live presence": "subscription {\n  presence { seq at device status reason }\n}",
  "Live cross-link": "subscription {\n  crossLink(device: \"esp32\") { seq at mode expectedPlaying hazard }\n}",
  "Live commands": "subscription {\n  commands { seq at id device action state delivery }\n}",
  "The schema": "{\n  __schema { types { name kind description fields { name description } } }\n}",
};
// The newest items of a subscription that are shown.
const SHOWN = 200;
const at = id => document.getElementById(id);
const [query, variables, result, state, run, stop] = ["query", "variables", "result", "state", "run", "stop"].map(at);
let socket = null;

for (const name of Object.keys(examples)) at("examples").add(new Option(name));
at("examples").onchange = event => { query.value = examples[event.target.value]; };
query.value = new URLSearchParams(location.search).get("query") || examples["Devices"];

const show = value => JSON.stringify(value, null, 2);
const isSubscription = text => /(^|})\s*subscription\b/.test(text.replace(/#.*/g, ""));

function end(text) {
  if (socket) { const old = socket; socket = null; old.close(1000); }
  run.disabled = false; stop.disabled = true; state.textContent = text;
}

async function operate(payload) {
  const began = performance.now();
  const answer = await fetch("/graphql", {
    method: "POST",
    headers: { "content-type": "application/json", "accept": "application/graphql-response+json" },
    body: JSON.stringify(payload),
  });
  result.textContent = show(await answer.json());
  end(`${answer.status}, ${Math.round(performance.now() - began)} ms`);
}

function subscribe(payload) {
  const items = [];
  let count = 0, drawn = true;
  const add = item => {
    count++;
    items.unshift(show(item));
    items.length = Math.min(items.length, SHOWN);
    if (!drawn) return;
    drawn = false;
    requestAnimationFrame(() => { drawn = true; result.textContent = items.join("\n"); state.textContent = `${count} items`; });
  };
  const own = socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/graphql", "graphql-transport-ws");
  const say = message => own.send(JSON.stringify(message));
  own.onopen = () => say({ type: "connection_init" });
  own.onmessage = event => {
    const message = JSON.parse(event.data);
    if (message.type === "connection_ack") { state.textContent = "waiting"; say({ id: "1", type: "subscribe", payload }); }
    if (message.type === "ping") say({ type: "pong" });
    if (message.type === "next") add(message.payload);
    if (message.type === "error") { add({ errors: message.payload }); end("refused"); }
    if (message.type === "complete") end("complete");
  };
  own.onclose = event => { if (socket === own) end(`closed ${event.code} ${event.reason}`); };
}

async function start() {
  if (run.disabled) return;
  run.disabled = true; stop.disabled = false; result.textContent = ""; state.textContent = "running";
  try {
    const payload = { query: query.value, variables: variables.value.trim() ? JSON.parse(variables.value) : {} };
    if (isSubscription(payload.query)) subscribe(payload); else await operate(payload);
  } catch (why) { end(String(why)); }
}

run.onclick = start;
stop.onclick = () => end("stopped");
addEventListener("keydown", event => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start(); });
