/// How the page looks, by day and by night.
enum PageStyle {
    static let text = """
        :root { --ground: #f7f7f5; --card: #fff; --ink: #1d2327; --soft: #68727a; --line: #e1e3e0;
          --direct: #2f9e62; --direct-soft: #d3efdf; --relay: #e7b04a; --relay-soft: #f6ecd6; --dead: #d2495a;
          --half: #7aa7d9; --accent: #3565c4; --blocked: #b9bec2; }
        @media (prefers-color-scheme: dark) { :root { --ground: #14181b; --card: #1c2226; --ink: #e6e9ea; --soft: #93a0a8;
          --line: #2d353a; --direct: #37b271; --direct-soft: #1d4431; --relay: #b98529; --relay-soft: #3a3222; --dead: #c24253;
          --half: #4f7fb5; --accent: #7ba3f0; --blocked: #555f66; } }
        * { box-sizing: border-box; }
        body { margin: 0; background: var(--ground); color: var(--ink);
          font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
        main { max-width: 1480px; margin: 0 auto; padding: 32px 24px 64px; }
        h1 { font-size: 30px; letter-spacing: -.02em; margin: 0; } h1 span { color: var(--accent); font-weight: 400; }
        h2 { font-size: 18px; margin: 0 0 8px; } h3 { font-size: 14px; margin: 18px 0 6px; }
        p { color: var(--soft); margin: 4px 0 14px; max-width: 90ch; }
        section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 20px 22px;
          margin-top: 18px; }
        .tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin-top: 14px; }
        .tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 14px 16px; }
        .tile b { display: block; font-size: 28px; letter-spacing: -.02em; font-variant-numeric: tabular-nums; }
        .tile span { display: block; line-height: 1.3; } .tile small { color: var(--soft); }
        .scroll { overflow-x: auto; }
        table { border-collapse: separate; border-spacing: 2px; font-variant-numeric: tabular-nums; }
        .matrix { font-size: 11.5px; }
        .matrix th { font-weight: 500; } .matrix small { color: var(--soft); font-weight: 400; }
        .matrix th.row { text-align: right; white-space: nowrap; padding-right: 8px; font-size: 12.5px; line-height: 1.15; }
        .matrix th.row i { display: block; font-style: normal; font-weight: 400; font-size: 10px; color: var(--soft); }
        .matrix th.column { height: 118px; vertical-align: bottom; padding: 0; }
        .matrix th.column span { display: block; writing-mode: vertical-rl; transform: rotate(180deg); margin: 0 auto 4px; }
        .matrix td { width: 40px; min-width: 38px; height: 32px; text-align: center; border-radius: 5px; cursor: default; }
        .matrix td { line-height: 1.15; }
        .matrix td small { display: block; font-size: 9.5px; line-height: 1; color: inherit; opacity: .85; }
        .direct { background: var(--direct); color: #fff; }
        .mixed { background: linear-gradient(to right, var(--direct) var(--share), var(--relay) var(--share)); color: #fff; }
        .half { background: var(--half); color: #fff; }
        .relay { background: var(--relay-soft); color: var(--soft); }
        .relay.short { background: var(--relay); color: #fff; }
        .dead { background: var(--dead); color: #fff; }
        .possible { position: relative; color: var(--soft); border: 1px solid var(--line); }
        .possible.pS { color: var(--direct); } .possible.pP, .possible.pB { color: var(--accent); }
        .possible b { position: absolute; right: 4px; top: 4px; width: 4px; height: 4px; border-radius: 50%;
          background: currentColor; }
        .missing { color: var(--soft); }
        .legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 12px 0 0; font-size: 13px; max-width: none; }
        .legend i { display: inline-block; width: 14px; height: 14px; border-radius: 4px; margin-right: 6px;
          vertical-align: -2px; }
        .populations { display: grid; grid-template-columns: repeat(auto-fit, minmax(370px, 1fr)); gap: 4px 28px; }
        .bar { display: flex; align-items: center; gap: 10px; height: 22px; }
        .bar span { width: 116px; color: var(--soft); text-align: right; flex: none; font-size: 13px; }
        .bar i { height: 12px; border-radius: 3px; } .bar b { font-weight: 600; font-size: 13px; }
        .bar em { color: var(--soft); font-size: 13px; }
        .run { background: var(--direct); } .simple { background: var(--half); } .possible.bar, i.possible {
          background: var(--direct-soft); } i.blocked { background: var(--blocked); } i.possible { border: 0; }
        .strips th { text-align: left; font-weight: 500; padding-right: 14px; white-space: nowrap; }
        .strips td:last-child { padding-left: 12px; white-space: nowrap; } .strips em { color: var(--dead); }
        svg { width: 460px; max-width: 100%; height: 34px; display: block; }
        svg text { font-size: 9px; fill: var(--soft); text-anchor: middle; }
        svg .last { text-anchor: end; }
        svg .axis { stroke: var(--line); stroke-width: 2; } svg .limit { stroke: var(--dead); stroke-width: 1.5; }
        svg circle { fill: var(--accent); fill-opacity: .55; } svg .bad { fill: var(--dead); }
        summary { cursor: pointer; color: var(--accent); margin-bottom: 8px; }
        .plain { border-spacing: 0; width: 100%; font-size: 13.5px; }
        .plain th { text-align: left; font-weight: 500; } .plain td, .plain th { padding: 5px 14px 5px 0;
          border-bottom: 1px solid var(--line); vertical-align: top; }
        """
}
