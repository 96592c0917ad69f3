// Sends the form without leaving the page, and takes dropped and pasted images. Without this script the form works too.
"use strict";
const form = document.querySelector("form"), input = form.querySelector("input"), limit = Number(form.dataset.limit);
const answer = () => document.getElementById("answer");
function fault(text) {
  const line = document.createElement("p");
  line.className = "fault";
  line.setAttribute("role", "alert");
  line.textContent = text;
  answer().replaceChildren(line);
}
async function send(file) {
  if (!file) return fault("Choose an image first.");
  if (file.size > limit) return fault(`The file is larger than ${limit / 1e6} MB.`);
  const body = new FormData();
  body.append("image", file);
  answer().classList.add("busy");
  try {
    const reply = await fetch("/", { method: "POST", body });
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    answer().replaceWith(document.importNode(page.getElementById("answer"), true));
  } catch {
    fault("The server does not answer; is npid serve still running?");
  }
  answer().classList.remove("busy");
}
form.addEventListener("submit", (event) => { event.preventDefault(); send(input.files[0]); });
input.addEventListener("change", () => send(input.files[0]));
addEventListener("dragover", (event) => { event.preventDefault(); form.classList.add("over"); });
addEventListener("dragleave", () => form.classList.remove("over"));
addEventListener("drop", (event) => { event.preventDefault(); form.classList.remove("over"); send(event.dataTransfer.files[0]); });
addEventListener("paste", (event) => { if (event.clipboardData.files.length) send(event.clipboardData.files[0]); });
