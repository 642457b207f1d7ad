-- Why a customer is gone, and who took its place.

alter table customer
  -- In the words of whoever deleted it. Null: not deleted, or deleted before anybody was asked.
  add column deletion_reason text
    constraint customer_deletion_reason_not_blank check (btrim(deletion_reason) <> ''),
  -- The customer that holds its relations now. Null: it was not merged.
  add column merged_into_id int8,
  add constraint customer_deletion_reason_of_deleted check (deletion_reason is null or deleted_at is not null),
  -- A merge is a deletion: two living customers never stand for each other.
  add constraint customer_merged_is_deleted check (merged_into_id is null or deleted_at is not null),
  add constraint customer_merged_into_another check (merged_into_id <> id);
