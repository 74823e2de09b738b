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

export const chart = () => ask("GET", "/api/chart");
export const chartBars = (values) => ask("GET", `/api/chart/bars?${query(values)}`);
export const chartPlace = (values) => ask("GET", `/api/chart/place?${query(values)}`);
export const chartLabels = (values) => ask("GET", `/api/chart/labels?${query(values)}`);
export const changeChart = (body) => ask("POST", "/api/chart/labels", body);
export const renameClass = (body) => ask("POST", "/api/chart/rename", body);
export const allSpans = () => ask("GET", "/api/chart/all");
export const proposals = (values) => ask("GET", `/api/chart/proposals?${query(values)}`);
export const nextPlace = (values) => ask("GET", `/api/chart/next?${query(values)}`);
export const writeFiles = (body) => ask("POST", "/api/chart/files", body);
export const filesDone = () => ask("GET", "/api/chart/files");
export const similarSpans = (values) => ask("GET", `/api/chart/similar?${query(values)}`);
