-- The detail of the customer that is logged in, or of one that it manages, in one statement. No row: not logged in. No
-- reference in the row: not permitted. $1 organisation, $2 hash of the identity, $3 the customer, null for oneself.
select detail.cu_ref_no, detail.email, detail.phone, detail.first_name, detail.last_name, detail.company_name
from customer_identity
join customer as viewer on viewer.organisation_id = $1::int8 and viewer.cu_ref_no = customer_identity.cu_ref_no
    and viewer.deleted_at is null
left join customer as detail on detail.organisation_id = $1 and detail.cu_ref_no = coalesce($3::text, viewer.cu_ref_no)
    and detail.deleted_at is null
    and (
        detail.cu_ref_no = viewer.cu_ref_no
        or exists (
            select from customer_match
            where organisation_id = $1
              and low_cu_ref_no = least(viewer.cu_ref_no, detail.cu_ref_no)
              and high_cu_ref_no = greatest(viewer.cu_ref_no, detail.cu_ref_no)
              and active is not null
              and case low_cu_ref_no when viewer.cu_ref_no then low_is_manager else high_is_manager end
        )
    )
where customer_identity.organisation_id = $1 and hash = $2::bytea and revoked_at is null and expires_at > now()
