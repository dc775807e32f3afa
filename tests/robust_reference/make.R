# Writes reference.json: robust covariances of the reference cases by clubSandwich, sandwich and plm.
# Run in this folder: Rscript make.R
suppressMessages({library(lme4); library(clubSandwich); library(sandwich); library(plm); library(jsonlite)})
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-11, rhobeg = 1e-2, maxfun = 1e6),
                       check.conv.singular = "ignore")
vec <- function(x) as.list(setNames(as.numeric(x), names(x)))
spec_of <- function(case) fromJSON(file.path("..", "reference", case, "spec.json"), simplifyVector = FALSE)

rows_of <- function(case) {
  spec <- spec_of(case)
  d <- read.csv(file.path("..", "reference", case, "data.csv"), check.names = FALSE, na.strings = c("", "NA"))
  d <- d[complete.cases(d[c(spec$outcome, unlist(spec$fixed), unlist(spec$groups))]), ]
  for (f in unlist(spec$categorical)) d[[f]] <- factor(d[[f]], unlist(spec$levels[[f]]))
  for (g in unlist(spec$groups)) d[[g]] <- factor(d[[g]])
  rownames(d) <- NULL
  d
}
formula_of <- function(case, id) {
  spec <- spec_of(case)
  m <- Filter(function(m) m$id == id, spec$models)[[1]]
  fixed <- if (identical(m$fixed, "all")) spec$fixed else m$fixed
  random <- sapply(m$random, function(r) paste0(
    "(", paste(unlist(r$terms), collapse = " + "), if (r$cov == "full") " | " else " || ",
    paste(unlist(r$level), collapse = ":"), ")"))
  as.formula(paste(spec$outcome, "~", paste(c("1", unlist(fixed), unlist(random)), collapse = " + ")))
}
ids <- function(d, cluster) factor(do.call(paste, c(unname(d[strsplit(cluster, "/")[[1]]]), sep = "/")))

clubs <- function(fit, id, tested = NULL) {
  out <- list()
  coefs <- if (inherits(fit, "lmerMod")) fixef(fit) else coef(fit)
  extra <- if (inherits(fit, "lm") && !is.null(weights(fit))) list(target = 1 / weights(fit), inverse_var = TRUE)
  for (kind in c("CR0", "CR1S", "CR2")) {
    v <- do.call(vcovCR, c(list(fit, cluster = id, type = kind), extra))
    out[[kind]] <- list(se = vec(setNames(sqrt(diag(as.matrix(v))), names(coefs))))
    if (kind == "CR2") {
      out[[kind]]$df <- vec(setNames(coef_test(fit, v, test = "Satterthwaite")$df_Satt, names(coefs)))
      if (!is.null(tested)) {
        w <- Wald_test(fit, constrain_zero(tested, coefs), v, test = "HTZ")
        out$test <- list(terms = tested, F = w$Fstat, df1 = w$df_num, df2 = w$df_denom, p = w$p_val)
      }
    }
  }
  out
}

tests <- list(empluk = c("lwage", "lcapital"), produc = c("hwy", "water", "other"), gasoline = c("lrpmg", "lcarpcap"),
              ratpup = c("TreatmentLow", "TreatmentHigh"), hedonic = c("nox", "rm", "tax"))
runs <- list(c("sleepstudy", "ri", "Subject"), c("sleepstudy", "rs", "Subject"), c("empluk", "ri", "sector/firm"),
             c("empluk", "rs", "sector/firm"), c("empluk", "ri", "sector"), c("empluk", "ml_rs", "sector"),
             c("produc", "ml_rs", "region"), c("gasoline", "rs", "country"), c("hedonic", "ri", "townid"),
             c("oats", "ml", "Block"), c("ratpup", "ri", "Litter"), c("jtrain", "ri", "fcode"),
             c("orthodont_girls", "rs", "Subject"), c("chickweight", "rs_diag", "Chick"))
out <- list()
out$mixed <- lapply(runs, function(r) {
  message(paste(r, collapse = " "))
  d <- rows_of(r[1])
  fit <- suppressWarnings(lmer(formula_of(r[1], r[2]), d, control = control))
  c(list(case = r[1], model = r[2], cluster = r[3], logLik = as.numeric(logLik(fit))),
    clubs(fit, ids(d, r[3]), tests[[r[1]]]))
})

# Weighted least squares: the weights are inverse variances.
d <- rows_of("empluk")
d$w <- 0.5 + (seq_len(nrow(d)) %% 7) / 4
fit <- lm(lemp ~ lwage + lcapital + loutput, d, weights = w)
out$weighted <- c(list(case = "empluk", cluster = "sector/firm"), clubs(fit, ids(d, "sector/firm"), tests$empluk))

# A dummy that one cluster alone identifies: pseudo-inverse roots.
d$solo <- as.numeric(d$sector == "3")
fit <- lmer(lemp ~ lwage + lcapital + solo + (1 | sector:firm), d, control = control)
out$alone <- c(list(case = "empluk", cluster = "sector"), clubs(fit, ids(d, "sector")))

# Two-way clusters and Driscoll-Kraay for pooled OLS.
out$panel <- lapply(list(c("empluk", "firm"), c("produc", "state"), c("gasoline", "country"), c("grunfeld", "firm"),
                         c("p_dup_time", "firm")), function(r) {
  d <- rows_of(r[1])
  spec <- spec_of(r[1])
  d$unit <- ids(d, paste(unlist(spec$groups), collapse = "/"))
  f <- as.formula(paste(spec$outcome, "~", paste(unlist(spec$fixed), collapse = " + ")))
  fit <- lm(f, d)
  by <- as.formula(paste("~ unit +", spec$time))
  se <- function(v) vec(sqrt(diag(v)))
  res <- list(case = r[1],
              CR0 = se(vcovCL(fit, by, type = "HC0", cadjust = FALSE)),
              CR1 = se(vcovCL(fit, by, type = "HC1", cadjust = TRUE)))
  if (r[1] != "p_dup_time") {
    p <- plm(f, d, index = c("unit", spec$time), model = "pooling")
    res$driscoll_kraay <- lapply(c(0, 2, 3), function(l) list(lag = l, se = se(vcovSCC(p, type = "HC0", maxlag = l))))
    outer <- unlist(spec$groups)[1]
    if (length(unlist(spec$groups)) > 1) {
      d$outer <- d[[outer]]
      res$outer_CR0 <- se(vcovCL(fit, as.formula(paste("~ outer +", spec$time)), type = "HC0", cadjust = FALSE, fix = TRUE))
    }
  }
  res
})
write_json(out, "reference.json", digits = NA, auto_unbox = TRUE, pretty = TRUE)
