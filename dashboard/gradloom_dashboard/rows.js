// Rows that change one by one: the server says which have changed in what, and in which order all of them stand.
// Text is put in by Vue, which escapes it; nothing is ever read as HTML.

const worker = {
  props: { row: Object },
  emits: ["deed"],
  template: `
    <div class="gl-lane gl-worker" :data-testid="'worker-' + row.id" :data-state="row.state">
      <div class="gl-cell">
        <div class="gl-name"><span class="gl-dot" :class="'gl-' + row.tone"></span>{{ row.id }}
          <span class="gl-dim gl-small gl-light">{{ row.state }}</span></div>
        <span class="gl-dim gl-small gl-wrap gl-in" data-part="does">{{ row.does }}</span>
        <span class="gl-dim gl-small gl-wrap gl-in" v-if="row.machine">{{ row.machine }}</span>
      </div>
      <div class="gl-cell gl-num"><span class="gl-k">shards</span>{{ row.shards }}</div>
      <div class="gl-cell gl-num"><span class="gl-k">speed</span>{{ row.rate }}</div>
      <div class="gl-cell" data-part="phases" :title="row.phases_words">
        <span class="gl-k">{{ row.phases_short }}</span>
        <div class="gl-phases" role="img" :aria-label="row.phases_words">
          <i v-for="part in row.phases" :key="part[0]" :class="'gl-p-' + part[0]" :style="{ flexGrow: part[1] }"></i>
        </div>
      </div>
      <div class="gl-cell gl-num"><span class="gl-k">heartbeat</span>{{ row.heartbeat }}</div>
      <div class="gl-acts">
        <button class="gl-act" v-for="deed in row.deeds" :key="deed" @click="$emit('deed', [deed, row.id])">
          {{ deed[0].toUpperCase() + deed.slice(1) }}</button>
      </div>
      <div class="gl-full gl-remark" v-for="words in row.remarks" :key="words">{{ words }}</div>
    </div>`,
};

const job = {
  props: { row: Object },
  template: `
    <a class="gl-lane gl-job" :href="'/jobs/' + encodeURIComponent(row.id)" :data-testid="'job-' + row.id">
      <div class="gl-cell"><div class="gl-name">{{ row.id }}</div>
        <span class="gl-dim gl-small gl-wrap">{{ row.algorithm }}, submitted {{ row.submitted }}</span></div>
      <div><span class="gl-pill"><span class="gl-dot" :class="'gl-' + row.tone"></span>{{ row.state }}</span></div>
      <div class="gl-cell gl-num"><span class="gl-k">round {{ row.rounds }}</span>
        <div class="gl-track gl-meter"><div class="gl-fill" :style="{ width: row.progress + '%' }"></div></div></div>
      <div class="gl-cell gl-num"><span class="gl-k">loss</span>{{ row.loss }}</div>
      <div class="gl-cell gl-num"><span class="gl-k">retries</span>{{ row.retries }}</div>
      <div class="gl-full gl-dim gl-small gl-wrap" v-if="row.reason">{{ row.reason }}</div>
    </a>`,
};

const share = {
  props: { row: Object },
  template: `
    <div class="gl-lane gl-share" :data-testid="'share-' + row.id" :data-state="row.state">
      <div class="gl-name"><span class="gl-dot" :class="'gl-' + row.tone"></span>{{ row.id }}
        <span class="gl-dim gl-small gl-light">{{ row.state }}</span></div>
      <div class="gl-cell gl-num"><span class="gl-k">did {{ row.part }} of the work</span>
        <div class="gl-track gl-meter"><div class="gl-fill" :style="{ width: row.bar + '%' }"></div></div></div>
      <div class="gl-cell gl-num"><span class="gl-k">rows</span>{{ row.rows }}</div>
      <div class="gl-cell gl-num"><span class="gl-k">busy</span>{{ row.busy }} %</div>
      <div class="gl-cell gl-num"><span class="gl-k">was last in</span>{{ row.last }}</div>
      <div class="gl-cell gl-num"><span class="gl-k">retries</span>{{ row.retries }}</div>
      <div class="gl-full gl-remark" v-for="words in row.remarks" :key="words">{{ words }}</div>
    </div>`,
};

const entry = {
  props: { row: Object },
  template: `
    <div class="gl-lane gl-entry">
      <span class="gl-dot" :class="'gl-' + row.tone"></span>
      <span class="gl-dim gl-num gl-small">{{ row.at }}</span>
      <span class="gl-wrap">{{ row.words }}</span>
    </div>`,
};

const kinds = { worker, job, share, entry };
for (const kind of Object.values(kinds)) Vue.markRaw(kind);

export default {
  props: { kind: String, rows: Array, empty: String, page: Number },
  emits: ["deed"],
  template: `
    <div class="gl-rows">
      <div class="gl-empty" v-if="!order.length">{{ empty }}</div>
      <component v-for="id in shown" :key="id" :is="component" :row="known.get(id)" @deed="$emit('deed', $event)" />
      <div class="gl-pager gl-small gl-dim" v-if="order.length > page">
        <button class="gl-act" :disabled="first === 0" @click="turn(-1)" aria-label="earlier rows">‹</button>
        <span class="gl-num">{{ first + 1 }}-{{ first + shown.length }} of {{ order.length }}</span>
        <button class="gl-act" :disabled="first + page >= order.length" @click="turn(1)" aria-label="later rows">›</button>
      </div>
    </div>`,
  data() {
    return {
      known: Vue.shallowReactive(new Map(this.rows.map((row) => [row.id, row]))),
      order: this.rows.map((row) => row.id),
      at: 0,
    };
  },
  computed: {
    component() {
      return kinds[this.kind];
    },
    first() {
      const last = Math.max(0, Math.ceil(this.order.length / this.page) - 1);
      return Math.min(this.at, last) * this.page;
    },
    shown() {
      return this.order.slice(this.first, this.first + this.page).filter((id) => this.known.has(id));
    },
  },
  methods: {
    // changed: parts of rows, each with its id; order: the ids of all rows, or null where it has not changed
    patch(changed, order) {
      for (const row of changed) this.known.set(row.id, { ...this.known.get(row.id), ...row });
      if (order === null) return;
      const there = new Set(order);
      for (const id of [...this.known.keys()]) if (!there.has(id)) this.known.delete(id);
      this.order = order;
    },
    turn(by) {
      this.at = this.first / this.page + by;
    },
  },
};
