-- How many customers of the organisation have been deleted or merged into others: a match that finds another number than
-- when it looked its customers up looks again.

alter table organisation add column customers_gone int8 not null default 0;
