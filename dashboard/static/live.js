// Holds the one line of events of a page, says how it stands, and fetches pages anew whose databases changed.
// A page that somebody works on (marked text, a field that was filled in, a focused control) is left as it is until they are done.
"use strict";

const main = document.getElementById("live");
const freshness = document.getElementById("freshness");
const trouble = document.getElementById("trouble");
const watched = new Set((main.dataset.watch || "").split(" ").filter(Boolean));
const WORDS = { live: "live", reconnecting: "reconnecting", away: "database away" };
const PERIOD_MS = Number(main.dataset.period ?? 500);
const own = main.dataset.ous; // the OUS that the page is about: it is fetched anew when that one moves
const HANDS = "a, button, input, select, summary, textarea";
const AGAIN_MS = 2000;
let isDue = false;
let isFetching = false;
let isHeld = false; // something has changed that is not shown, because somebody works on the page

function stands(state, reason = "") {
  freshness.dataset.state = state;
  tell();
  trouble.hidden = state === "live";
  if (state === "reconnecting") trouble.textContent = "The dashboard does not answer. What is shown is how things were; this page goes on by itself.";
  if (state === "away") trouble.textContent = `The database is away: ${reason} What is shown is how things were; this page goes on by itself.`;
}

function tell() {
  const word = WORDS[freshness.dataset.state] ?? "connecting";
  const text = isHeld ? `${word}, held while you are at it` : word;
  if (freshness.querySelector(".word").textContent !== text) freshness.querySelector(".word").textContent = text;
}

function hold(isInUse) {
  isHeld = isInUse;
  tell();
  return isHeld;
}

function inUse() {
  const active = document.activeElement;
  return !document.getSelection().isCollapsed || (main.contains(active) && active.matches(HANDS)) || isFilledIn();
}

function isFilledIn() {
  // A box that is to be ticked has a value that it was not given: "on".
  const isChanged = (each) => (each.type === "checkbox" ? each.checked !== each.defaultChecked : each.value !== each.defaultValue);
  return [...main.querySelectorAll("input, textarea")].some(isChanged);
}

export async function fetchPage(address = location.href) {
  const answer = await fetch(address, { cache: "no-store", headers: { "X-Requested-With": "fetch" } });
  if (answer.status >= 500) throw new Error(`${answer.status}`); // what is shown is better than that
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

async function renew() {
  isDue = false;
  if (isFetching || hold(inUse())) return ask(2 * PERIOD_MS);
  isFetching = true;
  try {
    const page = await fetchPage();
    if (hold(inUse())) return ask(2 * PERIOD_MS); // somebody has begun to work on it meanwhile
    show(page);
  } catch {
    if (freshness.dataset.state === "live") ask(2 * PERIOD_MS); // else the line of events tells when to ask again
  } finally {
    isFetching = false;
  }
}

function show(page) {
  const sections = () => [...main.querySelectorAll("section[id]")].map((each) => [each.id, each.querySelector(".wide")]);
  const scrolled = new Map(sections().map(([id, wide]) => [id, wide?.scrollLeft ?? 0]));
  const focused = sections().find(([, wide]) => wide && wide === document.activeElement)?.[0];
  const open = new Set([...main.querySelectorAll("details[open] .name")].map((each) => each.textContent));
  main.replaceChildren(...page.getElementById("live").childNodes);
  for (const [id, wide] of sections()) {
    if (wide) wide.scrollLeft = scrolled.get(id) ?? 0;
    if (id === focused) wide?.focus({ preventScroll: true });
  }
  age();
  for (const each of main.querySelectorAll("details")) each.open = open.has(each.querySelector(".name")?.textContent);
}

function ask(delay_ms = PERIOD_MS) {
  if (!isDue) setTimeout(renew, delay_ms);
  isDue = true;
}

export const events = new EventTarget(); // all that comes over the line, whichever line it is by now
let position = main.dataset.position ?? "";

// A browser takes up by itself a line that broke, but not one whose answer was none of ours, as a proxy's 502.
function listen() {
  const line = new EventSource(position ? `/events?since=${encodeURIComponent(position)}` : "/events");
  line.addEventListener("error", () => {
    stands("reconnecting");
    if (line.readyState === EventSource.CLOSED) setTimeout(listen, AGAIN_MS);
  });
  for (const kind of ["state", "changed", "moves", "reload"]) {
    line.addEventListener(kind, (event) => {
      position = event.lastEventId || position;
      events.dispatchEvent(new MessageEvent(kind, { data: event.data }));
    });
  }
}
listen();

events.addEventListener("state", (event) => {
  const { away } = JSON.parse(event.data);
  if (away) stands("away", away.endsWith(".") ? away : `${away}.`);
  else stands("live");
  if (!away && (own || watched.size)) ask(0);
});
events.addEventListener("changed", (event) => {
  if (JSON.parse(event.data).databases.some((each) => watched.has(each))) ask();
});
events.addEventListener("moves", (event) => {
  if (own && JSON.parse(event.data).moves.some((each) => each.id === own)) ask();
});
events.addEventListener("reload", () => (own || watched.size) && ask(0));
if (main.dataset.every) setInterval(() => ask(0), 1000 * Number(main.dataset.every));

// Ages grow by themselves; the exact moment is in the tooltip.
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
function inWords(seconds) {
  const at = UNITS.findIndex(([size]) => seconds >= size);
  if (at < 0) return "just now";
  const [size, unit] = UNITS[at];
  const next = UNITS[at + 1];
  const rest = next && at < 2 ? Math.floor((seconds % size) / next[0]) : 0;
  return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${next[1]}` : ""}`;
}
export function age() {
  const now = Date.now();
  for (const time of main.querySelectorAll("time")) {
    const told = inWords(Math.max(0, (now - Date.parse(time.dateTime)) / 1000));
    if (time.textContent !== told) time.textContent = told;
    if (!time.title) time.title = `since ${time.dateTime.replace("T", " ").slice(0, 19)} UTC`;
  }
}
age();
setInterval(age, 5000);
