// Steps through a list of frames. One module, two homes: a Jupyter widget (`model` is the
// kernel's), and a page with no kernel (`model` is a small stand-in that player.py puts in).
// It loads nothing and keeps nothing outside `el`.

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function button(label, name, className) {
  const node = make("button", className, label);
  node.type = "button";
  node.title = name;
  node.setAttribute("aria-label", name);
  return node;
}

function stepsAsText(frames) {
  const details = make("details", "tee-steps");
  details.append(make("summary", "", "All steps as text"));
  const list = make("ol");
  for (const frame of frames) list.append(make("li", "", `${frame.caption} ${frame.alt}`));
  details.append(list);
  return details;
}

function render({ model, el }) {
  const frames = model.get("frames");
  const last = frames.length - 1;
  const root = make("figure", "tee-player");
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab: the arrow keys are ours
  root.setAttribute("aria-label", model.get("title") || "Picture in steps");

  const stage = make("div", "tee-stage");
  const bar = make("div", "tee-bar");
  const first = button("\u00ab", "First step");
  const previous = button("\u2039 Back", "Previous step");
  const next = button("Next \u203a", "Next step", "tee-next");
  const end = button("\u00bb", "Last step");
  const slider = make("input");
  Object.assign(slider, { type: "range", min: 0, max: last, step: 1 });
  slider.setAttribute("aria-label", "Step");
  const count = make("span", "tee-count");
  bar.append(first, previous, next, end, slider, count);
  const caption = make("p", "tee-caption");
  caption.setAttribute("aria-live", "polite");

  if (model.get("title")) root.append(make("p", "tee-title", model.get("title")));
  root.append(stage);
  if (last > 0) root.append(bar);
  root.append(caption);
  if (last > 0) root.append(stepsAsText(frames));
  el.replaceChildren(root);

  const here = () => Math.min(Math.max(model.get("step"), 0), last);

  function show() {
    const step = here();
    const words = `Step ${step + 1} of ${last + 1}`;
    stage.innerHTML = frames[step].svg;
    caption.textContent = frames[step].caption;
    slider.value = step;
    slider.setAttribute("aria-valuetext", words);
    count.textContent = words;
    // aria-disabled keeps the keyboard focus, which a disabled button would lose
    for (const node of [first, previous]) node.setAttribute("aria-disabled", step === 0);
    for (const node of [next, end]) node.setAttribute("aria-disabled", step === last);
  }

  function go(step) {
    const to = Math.min(Math.max(step, 0), last);
    if (to === model.get("step")) return;
    model.set("step", to);
    model.save_changes();
    show();
  }

  first.onclick = () => go(0);
  previous.onclick = () => go(here() - 1);
  next.onclick = () => go(here() + 1);
  end.onclick = () => go(last);
  slider.oninput = () => go(Number(slider.value));
  bar.onkeydown = (event) => {
    const to = {
      ArrowRight: here() + 1, ArrowUp: here() + 1, ArrowLeft: here() - 1, ArrowDown: here() - 1,
      Home: 0, End: last,
    }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    go(to);
  };

  model.on("change:step", show);
  show();
  return () => model.off("change:step", show);
}

export default { render };
