// What scripts add to the page: sorting, filters, another arrangement of the matrix, charts.
// Everything is said without it. Texts reach the page as text, never as markup.
(function () {
  'use strict';
  const data = JSON.parse(document.getElementById('data').textContent);

  function make(name, properties, children) {
    const element = document.createElement(name);
    for (const key of Object.keys(properties || {})) {
      if (key in element) element[key] = properties[key];
      else element.setAttribute(key, properties[key]);
    }
    for (const child of children || []) element.append(child);
    return element;
  }

  // --- tables -------------------------------------------------------------------------------

  function sortKey(row, column) {
    const cell = row.cells[column];
    if (!cell) return '';
    const own = cell.getAttribute('data-v');
    const words = own === null ? cell.textContent : own;
    const number = Number(words.replace(/,/g, ''));
    return words.trim() !== '' && Number.isFinite(number) ? number : words;
  }

  function before(a, b) {
    const numbers = (typeof a === 'number') - (typeof b === 'number');
    if (numbers !== 0) return -numbers;  // numbers first
    if (typeof a === 'number') return a - b;
    return a < b ? -1 : a > b ? 1 : 0;
  }

  function sortBy(table, column) {
    const heads = table.tHead.rows[0].cells;
    const down = heads[column].getAttribute('aria-sort') === 'ascending';
    for (const head of heads) head.removeAttribute('aria-sort');
    heads[column].setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const rows = Array.from(table.tBodies[0].rows, function (row) {
      return {row: row, key: sortKey(row, column)};
    });
    rows.sort(function (a, b) { return down ? before(b.key, a.key) : before(a.key, b.key); });
    table.tBodies[0].append(...rows.map(function (each) { return each.row; }));
  }

  function makeSortable(table) {
    Array.from(table.tHead.rows[0].cells).forEach(function (head, column) {
      const button = make('button', {type: 'button', textContent: head.textContent});
      button.addEventListener('click', function () { sortBy(table, column); });
      head.replaceChildren(button);
    });
  }

  function makeFiltered(table) {
    const search = make('input', {type: 'search'});
    const red = make('input', {type: 'checkbox'});
    const told = make('span', {role: 'status'});
    const rows = Array.from(table.tBodies[0].rows);
    function apply() {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        const fits = words.every(function (word) { return text.includes(word); });
        row.hidden = !fits || (red.checked && !row.classList.contains('red'));
        if (!row.hidden) ++shown;
      }
      told.textContent = shown === rows.length ? '' : shown + ' of ' + rows.length + ' shown';
    }
    search.addEventListener('input', apply);
    red.addEventListener('change', apply);
    // A link to a row that is filtered away shows all again.
    window.addEventListener('hashchange', function () {
      const row = document.getElementById(location.hash.slice(1));
      if (!row || !row.hidden) return;
      search.value = '';
      red.checked = false;
      apply();
      row.scrollIntoView();
    });
    table.closest('.scroll').before(make('div', {className: 'controls'}, [
      make('label', {}, ['Filter ', search]), make('label', {}, [red, ' only red']), told]));
  }

  // --- the matrix ---------------------------------------------------------------------------

  function square(report, place, cell) {
    const link = make('a', {
      className: 'k ' + cell[2] + (cell[4] ? ' bad' : ''),
      href: '#r' + report + '-c' + place
    }, [cell[1]]);
    if (cell[3]) link.append(make('small', {textContent: cell[3]}));
    return link;
  }

  function leafTable(own, report, cells, rows, columns) {
    const used = function (axis) {
      if (axis < 0) return [-1];
      return own.values[axis].map(function (_, i) { return i; }).filter(function (i) {
        return cells.some(function (c) { return own.cells[c][0][axis] === i; });
      });
    };
    const name = function (axis, value) { return axis < 0 ? 'class' : own.values[axis][value]; };
    const head = make('tr', {}, [make('th', {
      scope: 'col',
      textContent: (rows < 0 ? '' : own.axes[rows] + ' \\ ') + own.axes[columns]
    })]);
    for (const value of used(columns)) {
      head.append(make('th', {scope: 'col', textContent: name(columns, value)}));
    }
    const body = make('tbody');
    for (const r of used(rows)) {
      const line = make('tr', {}, [make('th', {scope: 'row', textContent: name(rows, r)})]);
      for (const c of used(columns)) {
        const box = make('td');
        for (const cell of cells) {
          const at = own.cells[cell][0];
          if ((rows < 0 || at[rows] === r) && at[columns] === c) {
            box.append(square(report, cell, own.cells[cell]));
          }
        }
        if (!box.firstChild) box.textContent = '·';
        line.append(box);
      }
      body.append(line);
    }
    const table = make('table', {className: 'matrix'}, [make('thead', {}, [head]), body]);
    return make('div', {className: 'scroll', tabIndex: 0, role: 'group',
                        'aria-label': 'Cells by class'}, [table]);
  }

  function foldTables(own, report, cells, folds, rows, columns) {
    if (folds.length === 0) return [leafTable(own, report, cells, rows, columns)];
    const axis = folds[0], out = [];
    own.values[axis].forEach(function (value, i) {
      const inside = cells.filter(function (c) { return own.cells[c][0][axis] === i; });
      if (inside.length === 0) return;
      const red = inside.filter(function (c) { return own.cells[c][4]; }).length;
      const summary = make('summary', {}, [
        make('b', {textContent: own.axes[axis] + ' ' + value}), ' ' + inside.length + ' cells ']);
      const seen = new Set();
      for (const c of inside) {
        const cell = own.cells[c];
        if (seen.has(cell[1]) || seen.size === 8) continue;
        seen.add(cell[1]);
        summary.append(make('span', {className: 'k ' + cell[2], textContent: cell[1]}));
      }
      if (red) {
        summary.append(' ', make('span', {className: 'badge red', textContent: red + ' red'}));
      }
      out.push(make('details', {className: 'axis', open: red > 0 || own.cells.length <= 80},
                    [summary, ...foldTables(own, report, inside, folds.slice(1), rows, columns)]));
    });
    return out;
  }

  function makeMatrix(grid) {
    const report = Number(grid.dataset.report), own = data[report];
    if (own.axes.length < 2) return;
    const choice = function (chosen) {
      const list = make('select');
      own.axes.forEach(function (axis, i) {
        list.append(make('option', {value: i, textContent: axis, selected: axis === chosen}));
      });
      return list;
    };
    const rows = choice(grid.dataset.rows), columns = choice(grid.dataset.columns);
    const all = own.cells.map(function (_, i) { return i; });
    function arrange(changed, other) {
      if (rows.value === columns.value) other.value = (Number(changed.value) + 1) % own.axes.length;
      const r = Number(rows.value), c = Number(columns.value);
      const folds = own.axes.map(function (_, i) { return i; })
          .filter(function (i) { return i !== r && i !== c; });
      grid.replaceChildren(...foldTables(own, report, all, folds, r, c));
    }
    rows.addEventListener('change', function () { arrange(rows, columns); });
    columns.addEventListener('change', function () { arrange(columns, rows); });
    const controls = make('div', {className: 'controls'}, [
      make('label', {}, ['Rows ', rows]), make('label', {}, ['Columns ', columns])]);
    if (own.axes.length > 2) {
      for (const open of [true, false]) {
        const button = make('button', {type: 'button', textContent: open ? 'Open all' : 'Fold all'});
        button.addEventListener('click', function () {
          for (const fold of grid.querySelectorAll('details')) fold.open = open;
        });
        controls.append(button);
      }
    }
    grid.before(controls);
  }

  // --- charts -------------------------------------------------------------------------------

  const d3 = window.d3;

  function canvas(figure, height, margin) {
    const width = Math.max(280, figure.clientWidth);
    const svg = d3.select(figure).insert('svg', 'figcaption')
        .attr('role', 'img').attr('aria-label', figure.dataset.label + '; the table of numbers below it says the same')
        .attr('width', width).attr('height', height).attr('viewBox', '0 0 ' + width + ' ' + height);
    return {
      svg: svg, width: width, height: height, left: margin.left, right: width - margin.right,
      top: margin.top, bottom: height - margin.bottom
    };
  }

  // Every n-th of the names, so that they do not touch.
  function sparse(names, room, each) {
    const step = Math.max(1, Math.ceil(names.length * each / room));
    return names.filter(function (_, i) { return i % step === 0; });
  }

  function axes(c, x, y, names, ticks) {
    c.svg.append('g').attr('transform', 'translate(0,' + c.bottom + ')')
        .call(d3.axisBottom(x).tickValues(names).tickSizeOuter(0));
    c.svg.append('g').attr('transform', 'translate(' + c.left + ',0)').call(ticks || d3.axisLeft(y).ticks(5));
  }

  function words(c, x, y, text, anchor) {
    return c.svg.append('text').attr('x', x).attr('y', y).attr('text-anchor', anchor || 'start').text(text);
  }

  function legend(c, entries) {
    let x = c.left, y = 14;
    for (const entry of entries) {
      const length = 24 + entry.name.length * 6.6;
      if (x + length > c.width && x > c.left) { x = c.left; y += 18; }
      c.svg.append('path').attr('class', entry.kind).attr('transform', 'translate(' + (x + 6) + ',' + (y - 4) + ')')
          .attr('d', d3.symbol().type(entry.shape || d3.symbolSquare).size(70)());
      words(c, x + 16, y, entry.name);
      x += length;
    }
    return y;
  }

  function legendHeight(figure, entries) {
    let x = 0, lines = 1;
    for (const entry of entries) {
      const length = 24 + entry.name.length * 6.6;
      if (x + length > figure.clientWidth - 50 && x > 0) { x = 0; ++lines; }
      x += length;
    }
    return lines * 18 + 14;
  }

  function drawTimeline(figure, own) {
    const view = own.windows[figure.dataset.n];
    const sides = [
      {key: 'a', name: 'A', kind: 'a', shape: d3.symbolCircle, shift: 0.3},
      {key: 'b', name: 'B', kind: 'b', shape: d3.symbolDiamond, shift: 0.7}
    ].filter(function (side) { return view.rows.some(function (row) { return row[side.key]; }); });
    const entries = sides.concat([{name: 'pale: not drawn', kind: 'weak a'}]);
    const c = canvas(figure, 300, {left: 46, right: 12, top: legendHeight(figure, entries) + 12, bottom: 44});
    legend(c, entries);
    const x = d3.scaleBand().domain(view.rows.map(function (row) { return row.position; }))
        .range([c.left, c.right]);
    const logits = [];
    for (const row of view.rows) {
      for (const side of sides) for (const one of row[side.key] ? row[side.key].top : []) logits.push(one[1]);
    }
    const y = d3.scaleLinear().domain(d3.extent(logits)).nice().range([c.bottom, c.top]);
    for (const row of view.rows) {
      if (!row.differs) continue;
      c.svg.append('rect').attr('class', 'parts').attr('x', x(row.position)).attr('y', c.top)
          .attr('width', x.bandwidth()).attr('height', c.bottom - c.top);
    }
    if (x(view.first) !== undefined) {
      c.svg.append('line').attr('class', 'cut').attr('x1', x(view.first)).attr('x2', x(view.first))
          .attr('y1', c.top - 8).attr('y2', c.bottom);
      const late = x(view.first) > c.width * 0.6;
      words(c, x(view.first) + (late ? -4 : 4), c.top - 2, 'first difference', late ? 'end' : 'start');
    }
    for (const side of sides) {
      const place = function (row) { return x(row.position) + side.shift * x.bandwidth(); };
      const rows = view.rows.filter(function (row) { return row[side.key]; });
      const drawn = function (row) {
        const own = row[side.key];
        return own.top.find(function (one) { return one[0] === own.id; });
      };
      c.svg.append('path').attr('class', 'line ' + side.kind).attr('d', d3.line()
          .defined(drawn).x(place).y(function (row) { return y(drawn(row)[1]); })(rows));
      for (const row of rows) {
        row[side.key].top.forEach(function (one) {
          const chosen = one[0] === row[side.key].id;
          c.svg.append('path').attr('class', side.kind + (chosen ? '' : ' weak'))
              .attr('transform', 'translate(' + place(row) + ',' + y(one[1]) + ')')
              .attr('d', d3.symbol().type(side.shape).size(chosen ? 70 : 28)())
              .append('title').text(side.name + ', position ' + row.position + ', token ' + one[0] +
                                    ', logit ' + one[1]);
        });
      }
    }
    axes(c, x, y, sparse(x.domain(), c.right - c.left, 34));
    words(c, (c.left + c.right) / 2, c.height - 6, 'position', 'middle');
    words(c, 4, c.top - 6, 'logit');
  }

  function drawHeatmap(figure, own) {
    const view = own.windows[figure.dataset.n].layers;
    const step = Math.max(7, Math.min(20, 360 / view.layers.length));
    const entries = [{name: 'same bits', kind: 'same'}, {name: 'other bits', kind: 'differ'}];
    const top = legendHeight(figure, entries) + 6;
    const c = canvas(figure, top + step * view.layers.length + 46, {left: 56, right: 12, top: top, bottom: 46});
    legend(c, entries);
    const x = d3.scaleBand().domain(view.positions).range([c.left, c.right]).paddingInner(0.06);
    const y = d3.scaleBand().domain(view.layers).range([c.bottom, c.top]).paddingInner(0.08);
    view.positions.forEach(function (position, p) {
      view.layers.forEach(function (layer, l) {
        const at = p * view.layers.length + l;
        if (view.compared[at] === 0) return;
        const share = view.differing[at] / view.compared[at];
        const box = function (kind, opacity) {
          return c.svg.append('rect').attr('class', kind).attr('x', x(position)).attr('y', y(layer))
              .attr('width', x.bandwidth()).attr('height', y.bandwidth()).attr('opacity', opacity);
        };
        const lower = box('same', 1);
        const upper = share > 0 ? box('differ', 0.35 + 0.65 * share) : lower;
        upper.append('title').text('position ' + position + ', layer ' + layer + ': ' +
            view.differing[at] + ' of ' + view.compared[at] + ' recorded rows differ' +
            (view.first[p] ? '; the first is ' + view.first[p] : ''));
      });
    });
    axes(c, x, y, sparse(view.positions, c.right - c.left, 34),
         d3.axisLeft(y).tickValues(sparse(view.layers, c.bottom - c.top, 18))
             .tickFormat(function (layer) { return view.names[view.layers.indexOf(layer)]; }));
    words(c, (c.left + c.right) / 2, c.height - 6, 'position', 'middle');
    words(c, 4, c.top - 6, 'layer');
  }

  function drawHistogram(figure, own) {
    const view = own.histograms[figure.dataset.n];
    const entries = view.series.map(function (one, i) { return {name: one.name, kind: 's' + i % 9}; });
    const top = legendHeight(figure, entries) + 10;
    const long = view.steps.some(function (name) { return name.length > 6; });
    const c = canvas(figure, top + 200 + (long ? 86 : 30), {left: 50, right: 12, top: top, bottom: long ? 86 : 30});
    legend(c, entries);
    const x = d3.scaleBand().domain(view.steps).range([c.left, c.right]).padding(0.15);
    const group = Math.min(x.bandwidth(), 48 * view.series.length);
    const inner = d3.scaleBand().domain(d3.range(view.series.length))
        .range([(x.bandwidth() - group) / 2, (x.bandwidth() + group) / 2]);
    const most = d3.max(view.series, function (one) { return d3.max(one.counts); });
    const y = d3.scaleLinear().domain([0, Math.max(1, most)]).nice().range([c.bottom, c.top]);
    view.series.forEach(function (one, i) {
      one.counts.forEach(function (count, s) {
        if (count === 0) return;
        const left = x(view.steps[s]) + inner(i), up = Math.min(y(count), c.bottom - 2);
        c.svg.append('rect').attr('class', 's' + i % 9).attr('x', left).attr('y', up)
            .attr('width', Math.max(1, inner.bandwidth() - 1)).attr('height', c.bottom - up)
            .append('title').text(one.name + ', ' + view.steps[s] + ': ' + count + ' ' + view.unit);
        if (inner.bandwidth() > 7 * String(count).length) {
          words(c, left + inner.bandwidth() / 2, up - 3, count, 'middle').attr('class', 'count');
        }
      });
    });
    axes(c, x, y, view.steps, d3.axisLeft(y).ticks(Math.min(5, Math.max(1, most))).tickFormat(d3.format('d')));
    if (long) {
      c.svg.select('g').selectAll('text').attr('text-anchor', 'end').attr('transform', 'rotate(-40)')
          .attr('dx', '-0.5em').attr('dy', '0.3em');
    }
    words(c, 4, c.top - 4, view.unit);
  }

  function drawDrift(figure, own) {
    const view = own.drifts[figure.dataset.n];
    const shapes = [d3.symbolCircle, d3.symbolDiamond, d3.symbolSquare, d3.symbolTriangle, d3.symbolCross];
    const entries = view.map(function (line, i) {
      return {name: line.name, kind: 's' + i % 9, shape: shapes[i % shapes.length]};
    });
    const top = legendHeight(figure, entries) + 18;
    const c = canvas(figure, top + 260, {left: 62, right: 14, top: top, bottom: 40});
    legend(c, entries);
    const values = [], layers = [];
    for (const line of view) for (const point of line.points) { layers.push(point[0]); values.push(point[1]); }
    const positive = values.filter(function (value) { return value > 0; });
    const x = d3.scaleLinear().domain(d3.extent(layers)).range([c.left + 8, c.right - 8]);
    const log = positive.length > 0 && d3.max(positive) > 20 * d3.min(positive);
    const y = (log ? d3.scaleLog().domain(d3.extent(positive)) : d3.scaleLinear().domain([0, d3.max(values) || 1]))
        .nice().range([c.bottom, c.top]);
    view.forEach(function (line, i) {
      const points = line.points.filter(function (point) { return point[1] !== null && (!log || point[1] > 0); });
      const at = function (point) { return [x(point[0]), y(point[1])]; };
      c.svg.append('path').attr('class', 's' + i % 9 + ' line').attr('fill', 'none').style('fill', 'none')
          .attr('d', d3.line()(points.map(at)));
      for (const point of points) {
        c.svg.append('path').attr('class', 's' + i % 9).attr('transform', 'translate(' + at(point) + ')')
            .attr('d', d3.symbol().type(shapes[i % shapes.length]).size(36)())
            .append('title').text(line.name + ', layer ' + point[0] + ': ' + point[1]);
      }
    });
    const names = x.ticks(Math.min(10, d3.max(layers) - d3.min(layers))).filter(Number.isInteger);
    c.svg.append('g').attr('transform', 'translate(0,' + c.bottom + ')')
        .call(d3.axisBottom(x).tickValues(names).tickFormat(d3.format('d')).tickSizeOuter(0));
    c.svg.append('g').attr('transform', 'translate(' + c.left + ',0)').call(d3.axisLeft(y).ticks(5, '.1e'));
    words(c, (c.left + c.right) / 2, c.height - 4, 'layer', 'middle');
    words(c, 4, c.top - 12, log ? 'mean distance (log)' : 'mean distance');
  }

  const drawers = {timeline: drawTimeline, heatmap: drawHeatmap, histogram: drawHistogram, drift: drawDrift};

  function draw(figure) {
    for (const old of figure.querySelectorAll('svg')) old.remove();
    if (figure.clientWidth > 0) drawers[figure.dataset.chart](figure, data[figure.dataset.report]);
  }

  // Draws when there is room for it: a chart in a fold has none until the fold is opened.
  function makeChart(figure) {
    figure.hidden = false;
    let width = figure.clientWidth;
    draw(figure);
    new ResizeObserver(function () {
      if (figure.clientWidth === width) return;
      width = figure.clientWidth;
      requestAnimationFrame(function () { draw(figure); });
    }).observe(figure);
  }

  document.querySelectorAll('table.sortable').forEach(makeSortable);
  document.querySelectorAll('table.filtered').forEach(makeFiltered);
  document.querySelectorAll('.grid').forEach(makeMatrix);
  if (d3) {
    document.querySelectorAll('figure.chart').forEach(makeChart);
    // Beside a chart its numbers are one click away.
    for (const fold of document.querySelectorAll('details.numbers')) fold.open = false;
  }
})();
