// Keeps the lists up to date, and copies a line. Without it the page shows what there was when it was opened.
"use strict";
const live = document.querySelector("[data-live]");
async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(live.dataset.live, { credentials: "same-origin" });
    if (answer.status === 403) location.reload();
    else if (answer.ok) live.innerHTML = await answer.text();
  } catch {
    // The control plane is away; the next look finds it again.
  }
}
if (live) setInterval(refresh, 2000);
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const line = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(line.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(line);
      button.textContent = "Press Ctrl-C";
    }
  });
}
