// Requests to the server that served this page, and to no other.

export class Refused extends Error {
  constructor(status, body) {
    super(body.error || `The server answered ${status}.`);
    this.status = status;
    this.body = body;
  }
}

async function ask(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused(0, { error: "The server does not answer. Start `moola label` again; your marks are kept here." });
  }
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, content);
  return content;
}

const query = (values) => {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined);
  return new URLSearchParams(given).toString();
};

export const settings = () => ask("GET", "/api/settings");
export const nextWindow = (values) => ask("GET", `/api/next?${query(values)}`);
export const progress = (annotator) => ask("GET", `/api/progress?${query({ annotator })}`);
export const openWindow = (id, values) => ask("GET", `/api/window/${encodeURIComponent(id)}?${query(values)}`);
export const saveLabel = (id, body) => ask("PUT", `/api/label/${encodeURIComponent(id)}`, body);
export const undoSave = (id, body) => ask("POST", `/api/undo/${encodeURIComponent(id)}`, body);
export const opinions = (id, values) => ask("GET", `/api/opinions/${encodeURIComponent(id)}?${query(values)}`);
export const review = (values) => ask("GET", `/api/review?${query(values)}`);
