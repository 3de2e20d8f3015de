// A chart of ECharts that is given its options as they are: what Vue wraps to watch it takes many times as long to draw.
import { echarts } from "nicegui-echart";

export default {
  template: "<div></div>",
  props: { options: Object },
  mounted() {
    this.chart = Vue.markRaw(echarts.init(this.$el, null, { renderer: "svg" }));
    this.observer = new ResizeObserver(() => this.chart.resize());
    this.observer.observe(this.$el);
    this.draw(JSON.parse(JSON.stringify(this.options)));
  },
  beforeUnmount() {
    this.observer.disconnect();
    this.chart.dispose();
  },
  methods: {
    draw(options) {
      const lines = this.chart.getOption()?.series?.length;
      this.chart.setOption(options, { notMerge: lines !== options.series.length, lazyUpdate: true });
    },
  },
};
