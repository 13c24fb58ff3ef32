// Fetches the page again every second and puts its main part in place, so that scroll and focus stay where they are.
"use strict";

const PERIOD_MS = 1000;
const live = document.getElementById("live");
const freshness = document.getElementById("freshness");

async function refresh() {
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    live.replaceChildren(...page.getElementById("live").childNodes);
    freshness.textContent = answer.ok ? "live" : "database away";
  } catch {
    freshness.textContent = "no answer from the dashboard; trying again";
  }
  setTimeout(refresh, PERIOD_MS);
}

setTimeout(refresh, PERIOD_MS);
