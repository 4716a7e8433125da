// Shared by the example pages: one line per thing that happened.
function show(text) {
  const line = document.createElement("li");
  line.textContent = text;
  document.querySelector("#log").append(line);
}

// Call `done(values)` with the values of a form's fields when it is sent.
function onSend(selector, done) {
  document.querySelector(selector).addEventListener("submit", (event) => {
    event.preventDefault();
    done(...[...event.target.querySelectorAll("input")].map((field) => field.value));
  });
}
