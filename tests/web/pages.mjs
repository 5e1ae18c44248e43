// The four pages, in a browser that has no internet, over a gateway with the simulated pair.
//
//     npm run pages [-- the gateway's program]
//
// A fact that fails leaves a picture of its page behind, beside the gateway's log and database.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { launch, Sight } from './browser.mjs';
import { Gateway } from './gateway.mjs';
import { listen, publish } from './mqtt.mjs';
import { until } from './wait.mjs';

const [WIDE, NARROW] = [1920, 390];
/** A device that is not of the pair, so that nobody else speaks for it. */
const BENCH = 'bench';
/** Services, by the beginning of their topics. */
const [AIR, SCALE, LOOP] = ['bench/air', 'bench/scale', 'bench/loop/response'];

const ROOT = resolve(import.meta.dirname, '../..');
const built = resolve(ROOT, process.env.CARGO_TARGET_DIR ?? 'target', 'debug/crosslink');
const program = process.argv[2] ? resolve(process.env.INIT_CWD ?? '', process.argv[2]) : built;
const folder = await mkdtemp(join(tmpdir(), 'crosslink-pages-'));
const gateway = new Gateway(program, folder);
await gateway.start();
/** Whether the gateway was built without `web/`. */
const plain = (await (await fetch(gateway.origin)).text()).includes('/assets/plain/');
const withoutWeb = plain && 'this gateway was built without web/';
const browser = await launch();
let failed = false;

describe('Crosslink', () => {
  after(async () => {
    await browser.close();
    await gateway.stop();
    if (failed) console.error(`pictures, log and database: ${folder}`);
    else await rm(folder, { recursive: true });
  });

  page('the dashboard', { path: '/', title: 'Crosslink', shown: 'main[aria-busy=false]', skip: withoutWeb }, fact => {
    const chart = device => `[data-chart=${device}]`;
    const drawn = async (page, device) => {
      const { points, lastSeq } = await page.locator(chart(device)).evaluate(({ dataset }) => ({ ...dataset }));
      return { points: Number(points), lastSeq: Number(lastSeq) };
    };
    const kept = async device => {
      // The database is younger than the chart's window.
      const { items } = await gateway.ask(`/api/v1/devices/${device}/readings?limit=1000`);
      return { points: items.length, lastSeq: items[0].seq };
    };
    const drawsAll = async page => {
      for (const device of [BENCH, 'esp32', 'raspberry']) {
        await page.locator(chart(device)).waitFor();
        await until(
          `the chart of ${device} holds what REST tells`,
          async () => ({ kept: await kept(device), drawn: await drawn(page, device) }),
          ({ kept, drawn }) => kept.points === drawn.points && kept.lastSeq === drawn.lastSeq,
        );
      }
    };
    /** Clicks until it is taken: a click right after another one counts as its second half. */
    const order = async (page, action, device) => {
      const button = page.getByRole('button', { name: `${action}: ${device}` });
      const outcome = page.locator(`[data-device=${device}] [data-outcome]`);
      await until(`${action} is taken`, async () => {
        await button.click();
        return (await outcome.innerText()).startsWith(action);
      });
      await outcome.getByText('ACKNOWLEDGED').waitFor();
      assert.match(await outcome.innerText(), /acknowledged/);
    };

    fact('tells who is there', async page => {
      for (const device of ['raspberry', 'esp32']) {
        const status = page.locator(`[data-device=${device}][data-status=ONLINE] .status`);
        await status.waitFor();
        assert.equal(await status.innerText(), 'Online');
      }
    });

    fact('moves with the readings', async page => {
      const first = await until('a reading is drawn', () => drawn(page, 'esp32'), ({ points }) => points > 0);
      const next = await until('the next one is', () => drawn(page, 'esp32'), ({ lastSeq }) => lastSeq > first.lastSeq);
      assert.ok(next.points > first.points);
    });

    fact('tells a device to play, and what became of it', async page => {
      await order(page, 'Play', 'esp32');
      await page.locator('[data-link=esp32][data-mode=FORCED_ON]').getByText('Forced on').waitFor();
      await page.getByRole('button', { name: 'Play: esp32', pressed: true }).waitFor();
      const row = page.locator('[data-command][data-delivery=ACKNOWLEDGED]').first();
      assert.match(await row.innerText(), /Play esp32/);
    });

    fact('tells it to follow its peer again', async page => {
      await order(page, 'Resume', 'esp32');
      await page.locator('[data-link=esp32][data-mode=AUTO]').getByText('Follows raspberry').waitFor();
    });

    fact('shows a device that is heard for the first time', async page => {
      assert.equal(await page.locator(`[data-device=${BENCH}]`).count(), 0);
      await say(BENCH, 17.3);
      await page.locator(`[data-device=${BENCH}] [data-value=temperature]`).getByText('17.3').waitFor();
    });

    fact('shows a rejection, and what was wrong', async page => {
      await publish(gateway.mqtt, BENCH, `sensors/${BENCH}`, '{"temperature": "hot", "humidity": 40, "threshold": 29}');
      const row = page.locator('[data-rejection][data-reason=TYPE_MISMATCH]').first();
      await row.getByText(`sensors/${BENCH}`).waitFor();
      assert.match(await row.innerText(), /\/temperature/);
    });

    const card = path => `[data-service="${path}"]`;

    fact('shows a service with its kind, its values, their units and their age', async page => {
      assert.equal(await page.locator(card(AIR)).count(), 0);
      await breathe(21.5);
      const air = page.locator(`${card(AIR)}[data-state=INFERRED][data-kind=aht20]`);
      await air.getByText('21.5').waitFor();
      assert.match(await air.innerText(), /aht20/);
      assert.match(await air.locator('dl').innerText(), /temperature\s+21\.5\s*°C\s+humidity\s+40\.1\s*%RH/);
      const age = async () => Number(/^(\d+) s ago$/.exec(await air.locator('[data-age]').innerText())?.[1]);
      const first = await age();
      await until('its age counts up', age, next => next > first);
    });

    fact('moves with what a service measures', async page => {
      await breathe(22.7);
      await page.locator(card(AIR)).getByText('22.7').waitFor();
    });

    fact('names what a service may be', async page => {
      await publish(gateway.mqtt, 'scale-by-hand', SCALE, '{"value": 12.3, "unit": "g"}');
      const scale = page.locator(`${card(SCALE)}[data-state=AMBIGUOUS]`);
      await scale.getByText('12.3').waitFor();
      const standing = await scale.locator('[data-standing]').innerText();
      for (const candidate of ['analog_in', 'loadcell']) assert.ok(standing.includes(candidate), standing);
    });

    fact('shows that a service was pinned, without a reload', async page => {
      await page.evaluate(() => (window.asBefore = true));
      const pin = '{ pinService(firmware: "bench", service: "scale", kind: "loadcell") { state } }';
      await gateway.query(`mutation ${pin}`);
      const pinned = page.locator(`${card(SCALE)}[data-state=PINNED][data-kind=loadcell]`);
      await pinned.getByText('pinned').waitFor({ state: 'attached' });
      assert.match(await pinned.locator('[data-standing]').innerText(), /^loadcell/);
      assert.ok(await page.evaluate(() => window.asBefore), 'it is still the same page');
    });

    fact('shows what a camera sees', async page => {
      // The demo has one.
      await page.locator('[data-camera][data-drawn=true] canvas').first().waitFor();
    });

    /** Opens the form for commands to a service. */
    const form = async (page, path) => {
      await page.getByRole('button', { name: `Command… ${path}`, exact: true }).click();
      return page.locator(`${card(path)} form`);
    };
    /** Closes the one in which the reader is. */
    const close = async (page, path) => {
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: `Command… ${path}`, exact: true, expanded: false }).waitFor();
    };
    const button = (form, name) => form.getByRole('button', { name, exact: true });
    /** Clicks until it has an effect: a click right after another one counts as its second half. */
    const press = async (form, name, phase) => {
      await until(`${name} is taken`, async () => {
        if (await button(form, name).isVisible()) await button(form, name).click();
        return phase.test(await form.getAttribute('data-phase'));
      });
    };

    fact('has a form for each kind that takes commands, with all of its fields', async page => {
      // What some say, others say too.
      const pins = ['analog_in', 'command', 'digital_out', 'loadcell'].map(kind => {
        return `${kind}: pinService(firmware: "rig1", service: "${kind}", kind: "${kind}") { state }`;
      });
      await gateway.query(`mutation { ${pins.join(' ')} }`);
      const { items: kinds } = await gateway.ask('/api/v1/kinds');
      let forms = 0;
      for (const { name, topics } of kinds) {
        for (const { json_schema: schema, suffix } of topics.filter(topic => topic.class === 'COMMAND')) {
          const opened = await form(page, `rig1/${name}`);
          const shown = await opened.locator('[data-field]').evaluateAll(all => all.map(({ dataset }) => dataset.field));
          assert.deepEqual(shown.sort(), fields(schema).sort(), name);
          assert.equal(await opened.getAttribute('data-command-form'), suffix);
          await close(page, `rig1/${name}`);
          forms += 1;
        }
      }
      assert.ok(forms > 10, `${forms} forms`);
    });

    fact('tells a service what to do, and shows that it did', async (page, sight) => {
      const path = 'rig1/pid';
      const others = () => page.locator('[data-service]').evaluateAll(cards => cards.map(({ offsetTop }) => offsetTop));
      const places = await others();
      const opened = await form(page, path);
      assert.deepEqual(await others(), places, 'no card has moved');
      const setpoint = opened.getByRole('spinbutton', { name: 'setpoint' });
      const wanted = Number(await setpoint.inputValue()) + 1.5;
      await setpoint.fill(String(wanted));
      await setpoint.press('Enter');
      await opened.getByText(/^Confirmed in \d/).waitFor();
      await page.locator(`${card(path)} [data-topic="/response"]`).getByText(String(wanted)).waitFor();
      const row = page.locator('[data-command][data-state=CONFIRMED]').first();
      await row.getByText(path).waitFor();
      for (const width of [NARROW, WIDE]) await fits(sight, width);
      await close(page, path);
    });

    fact('says at its field what is wrong with a value', async (page, sight) => {
      sight.pardoned = /answered with 422|status of 422/;
      const opened = await form(page, 'rig1/pwm');
      const duty = opened.getByRole('spinbutton', { name: 'duty' });
      await duty.fill('1.5');
      await press(opened, 'Send', /refused/);
      await opened.locator('[data-field="/duty"] [data-flaw]').getByText(/from 0 to 1/).waitFor();
      assert.equal(await duty.getAttribute('aria-invalid'), 'true');
      await duty.fill('');
      await press(opened, 'Send', /nothing/);
      await opened.locator('[data-field="/duty"] [data-flaw]').getByText('expected a number').waitFor();
      await duty.fill('0.25');
      assert.equal(await opened.locator('[data-flaw]').count(), 0);
      await close(page, 'rig1/pwm');
      sight.pardoned = /^$/;
    });

    fact('asks twice before what can hurt', async page => {
      const last = async () => (await gateway.ask('/api/v1/commands?limit=1')).items[0].id;
      const before = await last();
      const opened = await form(page, 'rig1/pwm');
      await opened.getByRole('switch', { name: 'enable' }).check();
      await press(opened, 'Arm', /armed/);
      const duty = opened.getByRole('spinbutton', { name: 'duty' });
      await duty.fill('0.5');
      await button(opened, 'Execute').waitFor({ state: 'detached' });
      await press(opened, 'Arm', /armed/);
      assert.equal(await last(), before, 'nothing was sent');
      await press(opened, 'Execute', /sent/);
      await opened.getByText('CONFIRMED').waitFor();
      await close(page, 'rig1/pwm');
    });

    fact('sends to a device that is away if it must, and shows what is reported otherwise', async (page, sight) => {
      sight.pardoned = /answered with 409|status of 409/;
      await gateway.query('mutation { pinService(firmware: "bench", service: "loop", kind: "pid") { state } }');
      const answer = kp => {
        const works = { kp, ki: 0.1, kd: 0, setpoint: 20, pause_output: false, pause_target_input: false };
        return publish(gateway.mqtt, 'loop-by-hand', LOOP, JSON.stringify(works));
      };
      await answer(0.5);
      await page.locator(card('bench/loop')).getByText('0.5', { exact: true }).waitFor();
      const opened = await form(page, 'bench/loop');
      assert.equal(await opened.getByRole('spinbutton', { name: 'kp' }).inputValue(), '0.5');
      await press(opened, 'Send', /refused/);
      await opened.getByText('DEVICE_OFFLINE').waitFor();
      const leave = await listen(gateway.mqtt, 'loop-display', 'bench/loop/config');
      await press(opened, 'Send anyway', /sent/);
      await opened.getByText('the answer is awaited').waitFor();
      await answer(0.25);
      const row = opened.locator('[data-mismatch="/kp"]');
      await row.waitFor();
      assert.match(await row.innerText(), /^\/kp\s+0\.5\s+0\.25$/);
      leave();
      await close(page, 'bench/loop');
      sight.pardoned = /^$/;
    });

    fact('finds services by name or kind', async page => {
      const filter = page.getByRole('searchbox', { name: 'Filter services' });
      await filter.fill('bench aht');
      const shown = () => page.locator('[data-service]').evaluateAll(cards => cards.map(card => card.dataset.service));
      await until('one is left', shown, services => services.join() === AIR);
      await filter.fill('');
      await page.locator(card(SCALE)).waitFor();
    });

    fact('fits into its window with services too', async (_, sight) => {
      for (const width of [NARROW, WIDE]) await fits(sight, width);
    });

    fact('says that the gateway is away', async (page, sight) => {
      sight.pardoned = /net::ERR_CONNECTION_|net::ERR_EMPTY_RESPONSE|WebSocket connection/;
      await gateway.stop();
      await page.locator('main[data-connection=lost]').waitFor();
      await page.getByText('Connection lost').first().waitFor();
    });

    fact('is live again by itself when the gateway is back', async page => {
      // What is measured meanwhile can only come from the journal.
      await gateway.start({ closed: 'http' });
      await say(BENCH, 18.1, 18.2, 18.3, 18.4);
      await say('esp32', 30.1, 30.2);
      await breathe(23.9);
      await gateway.stop();
      await gateway.start();
      await page.locator('main[data-connection=live]').waitFor();
    });

    fact('shows what a service measured meanwhile', async page => {
      await page.locator(card(AIR)).getByText('23.9').waitFor();
    });

    fact('draws every reading that the journal has', async (page, sight) => {
      sight.pardoned = /^$/;
      await drawsAll(page);
      assert.equal((await drawn(page, BENCH)).points, 5);
    });

    fact('draws what was measured just before it asked', async () => {
      const other = await Sight.open(browser, gateway.origin, { width: WIDE, scheme: 'light' });
      const asks = async route => {
        // The gateway tells the time in whole seconds, by which this reading will be of the future.
        await until('a second is half over', () => Date.now() % 1_000, part => part > 500 && part < 700);
        await say(BENCH, 19.5);
        await route.continue();
      };
      await other.page.route('**/graphql', asks, { times: 1 });
      await other.page.goto(gateway.origin);
      await drawsAll(other.page);
      await other.close();
    });

    fact('goes on', async page => {
      const { lastSeq } = await drawn(page, 'esp32');
      await until('another reading is drawn', () => drawn(page, 'esp32'), next => next.lastSeq > lastSeq);
    });
  });

  // Scalar's pages move until all of them is there: under a mouse, but not under a key.
  page('REST', { path: '/api/docs', title: 'REST · Crosslink', shown: '#docs h1' }, fact => {
    fact('shows the operations', async page => {
      const { tags, paths } = await gateway.ask('/api/openapi.json');
      const operations = Object.values(paths).flatMap(Object.values);
      for (const { name } of tags) {
        await page.getByRole('link', { name, exact: true }).press('Enter');
        for (const { summary } of operations.filter(({ tags }) => tags?.includes(name))) {
          await page.getByRole('link', { name: `${summary} HTTP Method` }).press('Enter');
          await page.getByRole('heading', { name: summary, exact: true }).waitFor();
        }
      }
    });

    fact('asks the gateway itself', async page => {
      await page.getByRole('link', { name: 'devices', exact: true }).press('Enter');
      await page.getByRole('button', { name: '(get /api/v1/devices)' }).press('Enter');
      await page.getByRole('button', { name: /^Send/ }).first().press('Enter');
      const client = page.getByRole('dialog');
      await client.getByText('200 OK').waitFor();
      await client.getByText('"esp32"').first().waitFor();
    });
  });

  page('MQTT', { path: '/mqtt/docs', title: 'MQTT · Crosslink', shown: '#docs h1' }, fact => {
    fact('shows each group and its last channel', async page => {
      const { channels, info } = await gateway.ask('/mqtt/asyncapi.json');
      const link = name => page.getByRole('link', { name, exact: true });
      for (const group of info.tags) {
        // A channel may be called as its group is, which comes first.
        await link(group.name).first().press('Enter');
        // What is far away is not drawn.
        const { address, title } = Object.values(channels).findLast(({ tags }) => tags[0].name === group.name);
        await link(title).last().press('Enter');
        const heading = page.getByRole('heading', { name: title, exact: true });
        const definition = page.getByRole('definition').filter({ hasText: address });
        await page.locator('section', { has: heading }).filter({ has: definition }).last().waitFor();
      }
    });

    fact('shows where MQTT is spoken', async page => {
      const wanted = [`mqtt://${gateway.mqtt}`, gateway.origin.replace('http', 'ws')];
      // The list closes when the page moves.
      const listed = async () => {
        const servers = await page.getByRole('option').allInnerTexts();
        if (servers.length === 0) await page.getByRole('button', { name: /^Server:/ }).press('Enter');
        return servers.join();
      };
      await until('the servers are listed', listed, servers => wanted.every(server => servers.includes(server)));
    });
  });

  const graphiql = { path: '/graphql', title: 'GraphQL · Crosslink', shown: '.graphiql-tab', skip: withoutWeb };
  page('GraphiQL', graphiql, fact => {
    const result = page => page.locator('.result-window');
    const execute = page => page.getByRole('button', { name: /^Execute query/ }).click();

    fact('has examples in tabs, and runs the query in the first', async page => {
      const tabs = await page.getByRole('tab').allInnerTexts();
      assert.equal(tabs[0], 'Devices');
      assert.ok(tabs.includes('LiveSensors'), tabs.join());
      await execute(page);
      await result(page).getByText('"raspberry"').first().waitFor();
    });

    fact('runs a subscription, whose results come over time', async page => {
      await page.getByRole('tab', { name: 'LiveSensors' }).click();
      // GraphiQL reads an operation a moment after it shows it, and notes what it has read.
      await page.waitForFunction(() => localStorage.getItem('graphiql:query')?.includes('LiveSensors'));
      await execute(page);
      const seq = async () => Number(/"seq":\s(\d+)/.exec(await result(page).innerText())?.[1] ?? 0);
      const first = await until('a reading is shown', seq);
      await until('the next one is', seq, next => next > first);
      await page.getByRole('button', { name: /^Stop query/ }).click();
    });

    fact('tells what the schema says', async page => {
      await page.getByRole('button', { name: 'Show Documentation Explorer' }).click();
      const explorer = page.locator('.graphiql-doc-explorer');
      await explorer.getByRole('link', { name: 'Subscription', exact: true }).click();
      await explorer.getByText('sensors').first().waitFor();
    });
  });

  page('the plain dashboard', { path: '/', title: 'Crosslink', shown: '.card', html: 'dashboard.html' }, fact => {
    fact('moves with the readings', async page => {
      const temperature = page.locator('.card', { has: page.getByRole('heading', { name: BENCH }) }).locator('.number');
      for (const value of [21.5, 22.5]) {
        await say(BENCH, value);
        await temperature.getByText(String(value)).waitFor();
      }
    });

    fact('lists the services', async page => {
      await breathe(24.1);
      const row = page.getByRole('row', { name: AIR });
      await row.getByText('24.1').waitFor();
      assert.match(await row.innerText(), /aht20/);
    });
  });

  const plainConsole = { path: '/graphql', title: 'GraphQL · Crosslink', shown: '#run', html: 'console.html' };
  page('the plain console', plainConsole, fact => {
    fact('runs a subscription, whose results come over time', async page => {
      await page.locator('#examples').selectOption('Live readings');
      await page.locator('#run').click();
      const items = async () => Number.parseInt(await page.locator('#state').innerText());
      const first = await until('a reading is shown', items);
      await until('the next one is', items, next => next > first);
    });
  });
});

/**
 * What is true of a page, beside what is true of each. `shown` is an element that is there when the page is; `html`
 * is the page in its plain form, which a gateway with the full one does not show: the test lays it over.
 */
function page(name, { path, title, shown, html, skip = false }, facts) {
  describe(`${name} at ${path}`, { skip }, () => {
    let sight;

    async function show({ page }) {
      if (html && !plain) await layOver(page, path, html);
      const response = await page.goto(gateway.origin + path);
      assert.equal(response.status(), 200);
      await page.locator(shown).first().waitFor();
    }

    function fact(what, act) {
      test(what, () => pictured(what, () => act(sight.page, sight)));
    }

    async function pictured(what, act) {
      try {
        await act();
      } catch (why) {
        failed = true;
        const picture = await sight.picture(folder, `${name} ${what}`).catch(({ message }) => `no picture: ${message}`);
        console.error(`${name} ${what}: not so. ${picture}`);
        throw why;
      }
    }

    before(async () => {
      sight = await Sight.open(browser, gateway.origin, { width: WIDE, scheme: 'light' });
      await pictured('opens', () => show(sight));
    });

    fact(`has the title ${title}`, async page => {
      assert.equal(await page.title(), title);
    });

    fact('fits into its window, and is light or dark as the reader is', async () => {
      for (const width of [NARROW, WIDE]) await fits(sight, width);
      assert.ok((await sight.lightness()) > 0.8, 'it is light');
      const dark = await Sight.open(browser, gateway.origin, { width: NARROW, scheme: 'dark' });
      await show(dark);
      assert.ok((await dark.lightness()) < 0.2, 'it is dark');
      for (const width of [NARROW, WIDE]) await fits(dark, width);
      assert.deepEqual(dark.offences, []);
      await dark.close();
    });

    facts(fact);

    fact('asked no other host, broke no policy, and complained of nothing', async () => {
      assert.deepEqual(sight.offences, []);
    });

    after(() => sight?.close());
  });
}

/** What draws by its own size follows the window a moment later. */
async function fits(sight, width) {
  await until(`nothing is beyond a window of ${width} px`, () => sight.overhang(width), pixels => pixels === 0);
}

/** Readings of a device, in degrees. */
function say(device, ...temperatures) {
  const payloads = temperatures.map(temperature => JSON.stringify({ temperature, humidity: 40, threshold: 29 }));
  return publish(gateway.mqtt, `${device}-by-hand`, `sensors/${device}`, ...payloads);
}

/** What an AHT20 says at this temperature. */
function breathe(temperature) {
  const measure = (value, unit) => ({ value, unit });
  const air = { temperature: measure(temperature, 'C'), humidity: measure(40.1, '%RH'), dewpoint: measure(7.9, 'C') };
  return publish(gateway.mqtt, 'air-by-hand', AIR, JSON.stringify(air));
}

/** What a form has to ask, by JSON pointer. */
function fields(schema, pointer = '') {
  const inner = schema.oneOf?.flatMap(variant => fields(variant, pointer));
  const members = Object.entries(schema.properties ?? {}).flatMap(([name, member]) => fields(member, `${pointer}/${name}`));
  return inner ?? (members.length > 0 ? members : [pointer]);
}

/** Puts another page into the answer, under the policy that all plain pages have. */
async function layOver(page, path, html) {
  const body = await readFile(join(ROOT, 'src/pages/plain', html), 'utf8');
  const { headers } = await fetch(gateway.origin);
  const answer = {
    body,
    contentType: 'text/html; charset=utf-8',
    headers: { 'content-security-policy': headers.get('content-security-policy') },
  };
  // The browser does not know where this page comes from.
  await page.context().grantPermissions(['local-network-access']);
  await page.route(gateway.origin + path, (route, request) => {
    return request.isNavigationRequest() ? route.fulfill(answer) : route.fallback();
  });
}
