// One request at a time: keys pressed meanwhile wait for its answer, and are then acted on in their order.

export class Turns {
  constructor(failed) {
    this.failed = failed;
    this.busy = false;
    this.waiting = [];
  }

  async alone(work) {
    if (this.busy) return;
    this.busy = true;
    document.body.setAttribute("aria-busy", "true");
    try {
      await work();
    } catch (error) {
      this.failed(error);
    } finally {
      this.busy = false;
      document.body.removeAttribute("aria-busy");
      while (!this.busy && this.waiting.length) this.waiting.shift()();
    }
  }

  later(action) { this.waiting.push(action); }
}
