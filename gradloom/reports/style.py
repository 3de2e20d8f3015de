"""How a report looks: light and dark by the reader's choice, one column on a phone, black on white on paper."""

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --card: #f6f7f9; --ink: #1b1f24; --soft: #5b6570; --line: #d8dde3;
  --c0: #1f6fb2; --c1: #3f8f5b; --c2: #c08a12; --c3: #c8452f; --c4: #8a7fb8; --c5: #7d8894; --mark: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --card: #1d2127; --ink: #e6e9ed; --soft: #9aa5b1;
  --line: #343b44; --c0: #6cb2ee; --c1: #79c796; --c2: #e0b956; --c3: #f07f68; --c4: #a79bd6; --c5: #7f8a96;
  --mark: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1000px; padding: 1.2rem; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
h3 { font-size: .95rem; margin: 1.2rem 0 .3rem; }
p { margin: .4rem 0; max-width: 75ch; overflow-wrap: anywhere; }
.soft, figcaption { color: var(--soft); font-size: .87rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: .6rem; margin: 1rem 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .5rem .7rem; }
.tile b { display: block; font-size: 1.15rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.tile span { color: var(--soft); font-size: .8rem; }
.state { display: inline-block; border: 1px solid currentColor; border-radius: 99px; padding: 0 .6rem;
  font-size: .85rem; margin-right: .5rem; }
.state.completed, .state.serving { color: var(--c1); } .state.failed, .state.cancelled { color: var(--mark); }
.state.running, .state.planning { color: var(--c0); } .state.paused, .state.queued { color: var(--c2); }
.wide { overflow-x: auto; margin: .4rem 0; }
table { border-collapse: collapse; font-size: .88rem; min-width: 50%; }
th, td { padding: .22rem .7rem .22rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
table.numbers th:not(:first-child), table.numbers td:not(:first-child) { text-align: right;
  font-variant-numeric: tabular-nums; }
td { overflow-wrap: break-word; } table.numbers td { white-space: nowrap; }
figure { margin: .6rem 0 1rem; overflow-x: auto; }
@media (max-width: 640px) { figure > svg { min-width: 640px; } body { padding: .8rem; } }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font-size: 12px; font-family: inherit; }
svg .axis, svg .grid { stroke: var(--line); stroke-width: 1; }
svg .mark { stroke: var(--mark); stroke-width: 1; stroke-dasharray: 4 3; }
svg text.marked { fill: var(--mark); }
svg .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
svg .dot { stroke: none; }
.l0 { stroke: var(--c0); } .l1 { stroke: var(--c1); } .l2 { stroke: var(--c2); }
.l3 { stroke: var(--c3); } .l4 { stroke: var(--c4); } .l5 { stroke: var(--c5); }
.f0 { fill: var(--c0); } .f1 { fill: var(--c1); } .f2 { fill: var(--c2); }
.f3 { fill: var(--c3); } .f4 { fill: var(--c4); } .f5 { fill: var(--line); }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .84rem; color: var(--soft); }
.key svg { width: 12px; height: 12px; display: inline-block; margin-right: .3rem; vertical-align: -1px; }
code { font-size: .9em; overflow-wrap: anywhere; }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .8rem; }
@media print { :root { --ground: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --c0: #1f6fb2;
  --c1: #3f8f5b; --c2: #c08a12; --c3: #c8452f; --c4: #8a7fb8; --c5: #7d8894; --mark: #b3261e; }
  body { max-width: none; padding: 0; font-size: 11pt; } h2 { break-after: avoid; }
  figure, .tile, tr { break-inside: avoid; }
  .wide { overflow: visible; } }
"""
