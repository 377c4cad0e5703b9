// Keeps a page as it is on the server: a stream tells when something has changed, the page
// is then read anew and its main part replaced. Without a stream it is read anew from time
// to time. Nothing is read while the page is hidden, or while somebody is about to act on it.

const main = () => document.getElementById("main");
const sign = document.getElementById("live");
const every = () => Number(main().dataset.every); // seconds; 0: the page does not change
const least = () => Number(main().dataset.least); // ms between two reads
const alone = 5; // seconds between two reads without a stream

let stream = null;
let reading = false;
let wanted = false; // something has changed since the page was last read
let read = Date.now();
let beats = 0;
let timer = null; // until the page is read anew

// What the act before this page did is told for a while, and not again if the page is
// loaded again.
const notice = main().querySelector(":scope > .notice[role=status]");
const noticeUntil = Date.now() + 12000;
if (notice) {
  const here = new URL(location.href);
  here.searchParams.delete("notice");
  history.replaceState(null, "", here);
}

function show(text, title) {
  sign.hidden = false;
  sign.textContent = text;
  sign.title = title;
  sign.dataset.is = text;
}

// busy says whether somebody would lose what they are doing if the page changed.
function busy() {
  const at = document.activeElement;
  const typing = at && main().contains(at) && at.matches("input:not([type=checkbox]), select, textarea");
  const chosen = main().querySelector("input[type=checkbox]:checked, details.sure[open]");
  const marked = document.getSelection();
  return typing || chosen || (marked && !marked.isCollapsed && main().contains(marked.anchorNode));
}

// opened are the details that are open, by their place on the page.
const details = () => [...main().querySelectorAll("details:not(.sure)")];

// The way to an element that has the focus, so that it has it again afterwards.
function wayTo(element) {
  if (!element || !main().contains(element)) return null;
  const all = [...main().querySelectorAll(element.tagName)];
  return { tag: element.tagName, at: all.indexOf(element), text: element.textContent };
}

function focusAgain(way) {
  if (!way) return;
  const found = main().querySelectorAll(way.tag)[way.at];
  if (found && found.textContent === way.text) found.focus({ preventScroll: true });
}

async function refresh() {
  if (document.hidden || every() === 0) return;
  if (reading) {
    wanted = true;
    return;
  }
  if (busy()) {
    wanted = true;
    show("held", "The page is not read anew while you choose or type");
    return;
  }
  if (Date.now() - read < least()) {
    later(least() - (Date.now() - read));
    return;
  }
  reading = true;
  wanted = false;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "error" });
    const html = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = html.getElementById("main");
    if (!fresh) throw new Error("this is no page of the dashboard");
    if (!busy()) {
      const open = details().map((d) => d.open);
      const way = wayTo(document.activeElement);
      if (notice && Date.now() < noticeUntil) fresh.prepend(notice);
      main().replaceWith(document.adoptNode(fresh));
      details().forEach((d, i) => (d.open = open[i] ?? d.open));
      focusAgain(way);
      document.title = html.title;
      select();
    } else {
      wanted = true;
    }
    show(stream ? "live" : "reloading", stream ? "The page changes as things do" : `The page is read anew every ${alone} seconds`);
  } catch {
    show("offline", "The dashboard does not answer; the page is as it was");
  } finally {
    read = Date.now();
    reading = false;
    if (wanted) later(least());
  }
}

// later reads the page anew when a time has passed.
function later(pause) {
  wanted = true;
  timer ??= setTimeout(() => {
    timer = null;
    refresh();
  }, pause);
}

function connect() {
  if (stream || document.hidden || every() === 0) return;
  stream = new EventSource(sign.dataset.stream);
  stream.onopen = () => {
    show("live", "The page changes as things do");
    if (Date.now() - read > least()) refresh(); // what happened meanwhile was not told
  };
  stream.addEventListener("change", refresh);
  stream.addEventListener("beat", () => {
    beats += 1;
    if (wanted || beats % every() === 0) refresh();
  });
  stream.onerror = () => {
    if (stream.readyState === EventSource.CLOSED) {
      stream = null; // there are too many, or we are not let in
      show("reloading", `The page is read anew every ${alone} seconds`);
    } else {
      show("offline", "The dashboard does not answer; the page is as it was");
    }
  };
}

function disconnect() {
  stream?.close();
  stream = null;
}

// select keeps the box that selects all jobs of a list, and says how many are selected.
function select() {
  const all = main().querySelector("[data-all]");
  if (!all) return;
  const boxes = [...main().querySelectorAll(`input[name="${all.dataset.all}"]`)];
  const chosen = boxes.filter((box) => box.checked).length;
  all.checked = chosen > 0 && chosen === boxes.length;
  all.indeterminate = chosen > 0 && chosen < boxes.length;
  main().querySelector("[data-selected]").textContent = chosen ? `${chosen} selected` : "Select";
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-all]")) {
    const boxes = main().querySelectorAll(`input[name="${event.target.dataset.all}"]`);
    boxes.forEach((box) => (box.checked = event.target.checked));
  }
  select();
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    disconnect();
    show("resting", "The page is hidden");
    return;
  }
  connect();
  refresh();
});

setInterval(() => {
  if (!stream) refresh();
}, alone * 1000);

select();
connect();
