/* The tick and the cross, which both sides draw. The table of the box reads them at once: they stand in front of it. */
var YES = 'm4.5 12.8 5 5L19.5 7';
var NO = 'm6 6 12 12M18 6 6 18';
