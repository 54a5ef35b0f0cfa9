(() => {
  // What a budget buys, chosen as the run chooses: on validation data, a seed at a time, and read on test data.
  const ROUNDING = 1e-9;
  const best = (fits, ...keys) => {
    let found = -1;
    for (let i = 0; i < keys[0].length; i++) {
      if (!fits(i)) continue;
      if (found < 0) { found = i; continue; }
      const key = keys.find((values) => values[i] !== values[found]);
      if (key && key[i] < key[found]) found = i;
    }
    return found;
  };
  const negative = (values) => values.map((value) => -value);
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const spread = (values) => values.length < 2 ? NaN
    : Math.sqrt(values.reduce((sum, value) => sum + (value - mean(values)) ** 2, 0) / (values.length - 1));

  const pick = (sweep, plain, kind, amount) => {
    const { val, valCost } = sweep;
    const i = kind === "drop"
      ? best((i) => plain.val - val[i] <= amount / 100 + ROUNDING, valCost, negative(val))
      : best((i) => valCost[i] <= plain.valCost * amount / 100 * (1 + ROUNDING), negative(val), valCost);
    if (i < 0) return null;
    const at = (name) => sweep[name][i];
    return { seed: sweep.seed, knob: at("knob"), score: at("score"), cost: at("cost"), exit: at("exit"), ece: at("ece"),
      lost: plain.score - at("score"), speed: plain.cost / at("cost") };
  };
  const pickTimed = (rows, seed, plain, amount) => {
    const mine = rows.filter((row) => row.seed === seed);
    const i = best((i) => mine[i].ms <= amount * (1 + ROUNDING), negative(mine.map((row) => row.val)), mine.map((row) => row.ms));
    return i < 0 ? null : { ...mine[i], lost: plain.score - mine[i].score };
  };

  // One method at one budget: means over seeds, or null where some seed has nothing that fits.
  eebench.at = (data, method, kind, amount, device) => {
    const found = data.plain.seeds.map((plain) => {
      if (kind === "ms") return pickTimed(method.timed[device] ?? [], plain.seed, plain, amount);
      const sweep = method.seeds.find((sweep) => sweep.seed === plain.seed);
      return sweep ? pick(sweep, plain, kind, amount) : undefined;
    }).filter((chosen) => chosen !== undefined);
    if (!found.length || found.some((chosen) => chosen === null)) return null;
    const of = (name) => found.map((chosen) => chosen[name]);
    const result = { method, seeds: found };
    for (const name of ["score", "cost", "exit", "ece", "lost", "speed", "ms"]) result[name] = mean(of(name));
    result.scoreSpread = spread(of("score"));
    result.knobs = [Math.min(...of("knob")), Math.max(...of("knob"))];
    return result;
  };
})();
