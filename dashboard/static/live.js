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
let waiting = false;

function stands(state, reason = "") {
  freshness.dataset.state = state;
  freshness.querySelector(".word").textContent = WORDS[state];
  trouble.hidden = state === "live";
  if (state === "reconnecting") trouble.textContent = "The dashboard does not answer. What is shown is how things were; this page goes on by itself.";
  if (state === "away") trouble.textContent = `The database is away: ${reason} What is shown is how things were; this page goes on by itself.`;
}

function inUse() {
  const active = document.activeElement;
  return !document.getSelection().isCollapsed || (active !== main && main.contains(active)) || isFilledIn();
}

function isFilledIn() {
  return [...main.querySelectorAll("input, textarea")].some((each) => each.checked !== each.defaultChecked || each.value !== each.defaultValue);
}

export async function fetchPage(address = location.href) {
  const answer = await fetch(address, { cache: "no-store" });
  if (answer.status >= 500) throw new Error(`${answer.status}`); // what is shown is better than that
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

async function renew() {
  waiting = false;
  if (inUse()) return ask(2 * PERIOD_MS);
  try {
    const page = await fetchPage();
    if (inUse()) return ask(2 * PERIOD_MS); // somebody has begun to work on it meanwhile
    const scrolled = new Map([...main.querySelectorAll("section[id]")].map((each) => [each.id, each.querySelector(".wide")?.scrollLeft ?? 0]));
    const open = new Set([...main.querySelectorAll("details[open] .name")].map((each) => each.textContent));
    main.replaceChildren(...page.getElementById("live").childNodes);
    for (const section of main.querySelectorAll("section[id]")) {
      const wide = section.querySelector(".wide");
      if (wide) wide.scrollLeft = scrolled.get(section.id) ?? 0;
    }
    age();
    for (const each of main.querySelectorAll("details")) each.open = open.has(each.querySelector(".name")?.textContent);
  } catch {
    if (freshness.dataset.state === "live") ask(2 * PERIOD_MS); // else the line of events tells when to ask again
  }
}

function ask(delay_ms = PERIOD_MS) {
  if (!waiting) setTimeout(renew, delay_ms);
  waiting = true;
}

const since = main.dataset.position;
export const events = new EventSource(since ? `/events?since=${encodeURIComponent(since)}` : "/events");
events.addEventListener("error", () => stands("reconnecting"));
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
