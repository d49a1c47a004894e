// Makes the page, part by part, in the order in which it is read.

function noteSection() {
  if (!DATA.notes.length) return;
  section("notes", "Notes", "", element("ul", {}, DATA.notes.map(([note, about]) =>
    element("li", {}, note, element("span", { class: "soft" }, ` (${about.join("; ")})`)))));
}

document.getElementById("main").replaceChildren();
for (const make of [summarySection, barSection, mapSection, shareSection, calibrationSection,
  probeSections, learningSection, completionSection, noteSection]) make();
window.reportReady = performance.now(); // milliseconds since the page was asked for
performance.mark("report-ready");
