// A browser for which there is no other host, and what it sees of a page.

import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { DEADLINE_MS } from './wait.mjs';

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    // For root there is none.
    chromiumSandbox: process.getuid() !== 0,
    args: ['--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
  });
}

/** A page with all that it did wrong. */
export class Sight {
  page;
  /** What it asked of other hosts, what failed, and what the browser or the page itself complained of. */
  offences = [];
  /** What is no offence for the time being. */
  pardoned = /^$/;
  #origin;

  /** Opens a page in a browser that is new to it. `width` in pixels; `scheme` is light or dark. */
  static async open(browser, origin, { width, scheme }) {
    const context = await browser.newContext({ viewport: { width, height: 1_000 }, colorScheme: scheme });
    context.setDefaultTimeout(DEADLINE_MS);
    const sight = new Sight();
    sight.#origin = origin;
    await sight.#watch(context);
    sight.page = await context.newPage();
    return sight;
  }

  async #watch(context) {
    await context.exposeFunction('violated', what => this.#offence(`the policy forbids ${what}`));
    await context.addInitScript(() => {
      addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI }) => {
        window.violated(`${blockedURI} by ${effectiveDirective}`);
      });
    });
    context.on('request', request => this.#asked(request.url()));
    context.on('requestfailed', request => this.#offence(`${request.url()} failed: ${request.failure().errorText}`));
    context.on('response', response => {
      if (response.status() >= 400) this.#offence(`${response.url()} was answered with ${response.status()}`);
    });
    context.on('console', message => {
      if (['error', 'warning'].includes(message.type())) this.#offence(`${message.type()}: ${message.text()}`);
    });
    context.on('weberror', error => this.#offence(`thrown: ${error.error()}`));
    context.on('page', page => {
      page.on('websocket', socket => this.#asked(socket.url()));
      page.on('worker', worker => this.#asked(worker.url()));
    });
  }

  #asked(url) {
    const { protocol, host } = new URL(url);
    const here = ['http:', 'ws:'].includes(protocol) && host === new URL(this.#origin).host;
    if (!here && !['data:', 'blob:'].includes(protocol)) this.#offence(`it asks for ${url}`);
  }

  #offence(what) {
    if (!this.pardoned.test(what)) this.offences.push(what);
  }

  /** By how many pixels the page is wider than its window, at this width of the window. */
  async overhang(width) {
    await this.page.setViewportSize({ width, height: 1_000 });
    return this.page.evaluate(() => {
      const { scrollWidth, clientWidth } = document.scrollingElement;
      return scrollWidth - clientWidth;
    });
  }

  /** How light the ground is in the middle of the page: 0 is black, 1 is white. */
  lightness() {
    return this.page.evaluate(() => {
      const pixel = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
      let ground = document.elementFromPoint(innerWidth / 2, innerHeight / 2);
      for (; ground; ground = ground.parentElement) {
        pixel.clearRect(0, 0, 1, 1);
        pixel.fillStyle = getComputedStyle(ground).backgroundColor;
        pixel.fillRect(0, 0, 1, 1);
        const [red, green, blue, opacity] = pixel.getImageData(0, 0, 1, 1).data;
        if (opacity === 255) return (red + green + blue) / (3 * 255);
      }
      return null;
    });
  }

  /** Takes a picture of the page, and returns where it lies. */
  async picture(folder, name) {
    const path = join(folder, `${name.replaceAll(/\W+/g, '-')}.png`);
    await this.page.screenshot({ path });
    return path;
  }

  close() {
    return this.page.context().close();
  }
}
